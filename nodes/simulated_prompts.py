"""Simulated Prompts: what the person does in the videos that training samples."""

from comfy_api.latest import io

from ..prompts import SUBJECTS, fill, load, parse
from ..sentences import printable
from .contract import checked
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
                    default="sks",
                    tooltip="The word that names the person in training, and later in your own prompts, as in "
                    "'A sks man smiling'. Best a short word with no meaning of its own.",
                ),
                io.String.Input(
                    "prompts",
                    multiline=True,
                    default="",
                    placeholder="A V man smiling on the beach\nA V man playing the violin",
                    tooltip="Your own prompts, one a line, with V where the trigger word goes; lines that start with # "
                    "are left out. Empty: the bundled list of the subject.",
                ),
            ],
            outputs=[io.String.Output(display_name="prompts", tooltip="One prompt a line, with the trigger word.")],
        )

    @classmethod
    def validate_inputs(cls, trigger_word=None, prompts=None):
        if trigger_word is None or prompts is None:
            return True  # linked to another node: its value is checked when it is known
        try:
            _filled(SUBJECTS[0], trigger_word, prompts)
        except ValueError as error:
            return printable(str(error))
        return True

    @classmethod
    @checked
    def execute(cls, subject: str, trigger_word: str, prompts: str) -> io.NodeOutput:
        return io.NodeOutput("\n".join(_filled(subject, trigger_word, prompts)))


def _filled(subject: str, trigger_word: str, prompts: str) -> list[str]:
    return fill(parse(prompts) if prompts.strip() else load(subject), trigger_word, subject)
