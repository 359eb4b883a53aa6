"""The arms of the ablation study, each of which is our training with the change that its title names.

Every arm has the settings of the bundled demo workflow, the same number of optimizer steps and the same rank, and is
sampled as it was trained. Two consequences are not in the titles. A video of a single frame (``t2i``) has one frame to
score in a step and none to compare it with, so its SCR is 0. And gradient reaches the last 4 sampling steps, even in arms
that act in more.

Two choices were made before the study began, on the pilots Aro and Fenn, whom it leaves out (training seed 100):
- 260 steps. With 130, `ours` reached a judge similarity of 0.69 and 0.49 (base: 0.02 for Aro), which was too little; with
  260, Aro reached 0.81, and attribute agreement rose from 0.68 to 0.89.
- The learning rate of the reconstruction, by the judge alone. With 130 steps it reached 0.17 and -0.02 at 5e-4, 0.42 and
  0.21 at 2e-3, 0.60 and 0.58 at 8e-3; with 260 steps, for Fenn alone, 0.66 at 8e-3 and 0.65 at 2e-2; so it is 8e-3. Its
  motion (2.0 pixels a frame without it) was 1.3 and 1.4 at 2e-3, 0.7 and 0.9 at 8e-3; with 260 steps 0.4 at 8e-3 and 0.1
  at 2e-2.

Five arms were added to understand the first rows, of six people: neither acting in all steps nor the lack of SCR had cost
motion, and reconstruction was a good likeness of some people. What our training has beyond the losses of Eq. 5, a
preservation loss and a reward that looks for the face where the teacher has it, may be what keeps the motion. ``eq5`` and
its two variants do without both (they replace two arms, not yet begun, that lacked the first alone), and ``eq5_all_steps``
has gradient through all its steps. They keep our robust augmentation, 4 rewarded frames a step and falling learning rate.
``reconstruction_our_rate`` and ``reconstruction_late`` ask whether a reconstruction that moves still shows the person.
"""

import re
from dataclasses import dataclass, field

STEPS = 260
FRAMES, SIZE, PHOTOS = 8, 64, 5
SAMPLING_STEPS = 16
TRAINING = {
    "sampling_steps": SAMPLING_STEPS, "cfg": 1.0, "learning_rate": 2e-3, "gradient_steps": 4, "num_frames": 4,
    "identity_frames": 4, "preserve_weight": 8.0, "gradient_checkpointing": "off",
}  # fmt: skip
EQ5 = {"preserve_weight": 0.0}
ALL_STEPS = {"start_percent": 0.0}
RECONSTRUCTION_RATE = {"learning_rate": 8e-3}

SELF, CROSS, BOTH = (re.compile(rf"blocks\.\d+\.{kind}_attn\.[qkv]") for kind in ("self", "cross", "(self|cross)"))

REWARD, RECONSTRUCTION, NOTHING = "reward", "reconstruction", "nothing"


@dataclass(frozen=True)
class Arm:
    """An arm of the study.

    name: its name in the rows. title: its name for people. changes: those to TrainingSettings, of which a reconstruction
    knows some. training: REWARD, RECONSTRUCTION or NOTHING. layers: the linears that get the adapter. frames: how many a
    training video has. photos: how many references are used. one_prompt: whether prompts are not augmented. own_faces:
    whether the reward looks for the face in the student's frames, as in the paper, and not where the teacher has it.
    """

    name: str
    title: str
    changes: dict = field(default_factory=dict)
    training: str = REWARD
    layers: re.Pattern = SELF
    frames: int = FRAMES
    photos: int = PHOTOS
    one_prompt: bool = False
    own_faces: bool = False

    @property
    def start_percent(self) -> float:
        """The point from which sampling uses the adapter, which learns the steps after it."""
        return self.changes.get("start_percent", 0.75)


ARMS = (
    Arm("base", "Base model", training=NOTHING),
    Arm("ours", "Ours"),
    Arm("no_scr", "Without SCR", {"semantic_weight": 0.0}),
    Arm("no_augmentation", "Without prompt augmentation", one_prompt=True),
    Arm("all_steps", "All steps", ALL_STEPS),
    Arm("t2i", "Trained on single frames (T2I)", frames=1),
    Arm("reconstruction", "Reconstruction (DreamBooth-LoRA)", RECONSTRUCTION_RATE | ALL_STEPS, RECONSTRUCTION),
    Arm("half", "Last half of the steps", {"start_percent": 0.5}),
    Arm("eq5", "ICR and SCR alone", EQ5, own_faces=True),
    Arm("eq5_no_scr", "ICR alone", EQ5 | {"semantic_weight": 0.0}, own_faces=True),
    Arm("eq5_all_steps", "ICR and SCR alone, all steps", EQ5 | ALL_STEPS | {"gradient_steps": 16}, own_faces=True),
    Arm("cross", "Cross-attention", layers=CROSS),
    Arm("self_cross", "Self- and cross-attention", layers=BOTH),
    Arm("one_reference", "One photo", photos=1),
    Arm("paper_augmentation", "The paper's augmentation", {"augmentation": "paper"}),
    Arm("k1", "Gradient through 1 step", {"gradient_steps": 1}),
    Arm("k2", "Gradient through 2 steps", {"gradient_steps": 2}),
    Arm("reconstruction_our_rate", "Reconstruction at our learning rate", ALL_STEPS, RECONSTRUCTION),
    Arm("reconstruction_late", "Reconstruction in the last quarter", RECONSTRUCTION_RATE, RECONSTRUCTION),
)
MAIN = ("base", "ours", "no_scr", "no_augmentation", "all_steps", "t2i", "reconstruction")
"""The arms for the questions that the study has to answer first."""

ADDED = ("eq5", "eq5_no_scr", "eq5_all_steps", "reconstruction_our_rate", "reconstruction_late")
"""The arms that were added after rows had been seen."""

BY_NAME = {arm.name: arm for arm in ARMS}
