"""The Markdown notes in the demo's workflows."""

SENTENCES = """The demo model knows sentences such as *a sks person on the beach, wearing a red shirt, moving left*: beach, \
forest, city at night, snow, room; red, blue, green, yellow, purple, white; moving left, right, up, down, coming closer, \
nodding."""

TRAIN_NOTE = """# Press Run, watch the face appear

Everything here is bundled; on a laptop it takes about two minutes.

1. **Load Demo Models** is a text-to-video model of drawn people.
2. **Load Identity Images** shows it five pictures of somebody it has never seen. Choose somebody else under `folder`.
3. **Train** samples videos, compares the faces in them with the pictures, and adjusts a LoRA that acts only in the last \
quarter of the sampling steps. The picture on the node: left the original model, right the same video with the LoRA. \
The line above it tells the step, the time left and how alike the faces are (1 is the same person).

Cancel whenever it looks right: what was learned is saved, and the node says where.

The LoRA lies in `output/loras`. Press `R` to see it in every LoRA list, then open the template **Demo 2**."""

SAMPLE_NOTE = f"""# Press Run: the person in a new video

- **Style LoRA** is ComfyUI's own Load LoRA with an ordinary style (a noir look). Set its strength to 0 to leave it out.
- **Apply Late-Step Identity LoRA** adds the person in the last quarter of the steps. `strength_model` 0 shows the base \
model with the same seed.
- To see the person you trained in Demo 1: press `R`, choose the LoRA under `lora_name`.

{SENTENCES}"""

STYLES_NOTE = f"""# Press Run: one person, two styles

- The two **Style LoRAs** are ComfyUI's own Load LoRA, one after the other: half a noir look, then evening light. They act \
in all steps.
- **Apply Late-Step Identity LoRA** comes on top and acts in the last quarter only. It may stand before, between or after \
the styles: the video is the same.
- Styles change colours and light, so the likeness is a little lower than without. Lower `strength_model` of a style \
when the face suffers.

{SENTENCES}"""

EVALUATE_NOTE = f"""# Press Run: is it really this person?

**Evaluate Identity Video** takes the frames of any video, of any method, and measures three things: is it the person, does \
it move, does it fit the prompt.

- `face_model` is the **judge**: a recognizer that training never rewarded. Training learns to please the recognizer that \
it was shown, so that one's figures are too good.
- Set `strength_model` of **Apply Late-Step Identity LoRA** to 0 for the same figures of the base model.
- The prompt stands in the node once more, because frames do not carry it.

{SENTENCES}"""

CORE_NOTE = f"""# Press Run: with the core's KSampler

**Sample Video** is a convenience. What **Apply Late-Step Identity LoRA** gives is an ordinary MODEL: ComfyUI's own \
KSampler, any sampler and any scheduler take it.

- The same seed and settings give the video that Sample Video gives in Demo 2 (there with a style on top).
- The empty latent's `length` is 29 because that node counts four frames for one in the latent, and the demo's VAE keeps \
every frame: (29 - 1) / 4 + 1 = 8. Real video models take their usual length.

{SENTENCES}"""
