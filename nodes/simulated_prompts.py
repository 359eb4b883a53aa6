"""Simulated Prompts: what the person does in the videos that training samples."""

from comfy_api.latest import io

from ..prompts import SUBJECTS, TRIGGER_WORD, fill, load, parse
from .wire_types import CATEGORY


class SimulatedPrompts(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PersonalVideoSimulatedPrompts",
            display_name="Simulated Prompts",
            category=CATEGORY,
            description="Prompts with varied motion, looks and places, which training draws from at random. "
            "They need not describe your photos: the variety keeps the identity from sticking to one scene.",
            search_aliases=["prompt augmentation", "training prompts", "trigger word", "PersonalVideo"],
            inputs=[
                io.Combo.Input(
                    "subject",
                    options=list(SUBJECTS),
                    tooltip="Who the person is: chooses the bundled list of 50 prompts, and the noun after the "
                    "trigger word. demo is the list of the bundled demo model.",
                ),
                io.String.Input(
                    "trigger_word",
                    default=TRIGGER_WORD,
                    tooltip="The word that names the person in training, and later in your own prompts, as in "
                    f"'A {TRIGGER_WORD} man smiling'. Best a short word with no meaning of its own.",
                ),
                io.String.Input(
                    "prompts",
                    multiline=True,
                    default="",
                    placeholder="A V man smiling on the beach\nA V man playing the violin",
                    tooltip="Your own prompts, one a line, with V where the trigger word goes; lines that start with # "
                    "are left out. Empty: the bundled list of the subject.",
                ),
                io.String.Input(
                    "description",
                    optional=True,
                    default="",
                    placeholder="60-year-old man with a grey beard and glasses",
                    tooltip="What the person looks like, without clothes and mood: age, hair, beard, glasses. It goes into "
                    "every prompt, since sex, age and hair are settled before the adapter acts; the LoRA remembers it.",
                ),
            ],
            outputs=[io.String.Output(display_name="prompts", tooltip="One prompt a line, with the trigger word.")],
        )

    @classmethod
    def validate_inputs(cls, trigger_word=None, prompts=None):
        if trigger_word is None or prompts is None:
            return True  # linked to another node: its value is checked when it is known
        try:
            cls.execute(SUBJECTS[0], trigger_word, prompts)
        except ValueError as error:
            return str(error)
        return True

    @classmethod
    def execute(cls, subject: str, trigger_word: str, prompts: str, description: str = "") -> io.NodeOutput:
        chosen = parse(prompts) if prompts.strip() else load(subject)
        return io.NodeOutput("\n".join(fill(chosen, trigger_word, subject, description)))
