"""A training run out of the Train node's inputs, for whoever trains it or asks what it takes."""

from ..prompts import has_trigger, parse
from ..training.recipes import Choice, choose
from ..training.run import TrainingRun
from .bank_folder import bank_location
from .lora_path import NEW_LORA, lora_path
from .video_latent import empty_latent


def training_run(
    *,
    model,
    clip,
    vae,
    identity,
    prompts,
    negative_prompt,
    filename_prefix,
    save_every,
    existing_lora,
    preset,
    trigger_word,
    teacher_bank,
    bank_folder,
    semantic_reward=None,
    high_noise_model=None,
    **values,
) -> tuple[TrainingRun, Choice]:
    """The run, not yet started, and where its settings come from. values: the inputs that are settings, and the video's size.

    Raises ValueError where an input is wrong.
    """
    if clip is None:
        raise ValueError("clip: the checkpoint has no text encoder; connect a Load CLIP node with the model's own.")
    choice = choose(values, preset, model.model)
    trigger_word = trigger_word.strip()
    lines = parse(prompts)
    _check_prompts(lines, trigger_word)
    run = TrainingRun(
        model=model,
        clip=clip,
        vae=vae,
        identity=identity,
        semantic_reward=semantic_reward,
        prompts=lines,
        negative_prompt=negative_prompt,
        latent=empty_latent(model, vae, choice.width, choice.height, choice.length),
        settings=choice.settings,
        trigger_word=trigger_word,
        lora_path=lora_path(filename_prefix, existing_lora),
        resume=existing_lora != NEW_LORA,
        save_every=save_every,
        teacher_clips=bank_location(teacher_bank, bank_folder),
        high_noise_model=high_noise_model,
    )
    return run, choice


def _check_prompts(prompts: list[str], trigger_word: str) -> None:
    if not trigger_word:
        raise ValueError("trigger_word: it is empty; enter the word that stands for the person in the prompts.")
    if len(prompts) < 2:
        raise ValueError(
            "prompts: at least 2 lines are needed, one to train on and one to keep for the preview; connect Simulated Prompts."
        )
    for prompt in prompts:
        if not has_trigger(prompt, trigger_word):
            raise ValueError(
                f'prompts: "{prompt[:60]}" does not contain the trigger word {trigger_word}; '
                "use Simulated Prompts, or write the trigger word into every line."
            )
