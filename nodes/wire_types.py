"""The types of the wires between our nodes, and between them and the host's training nodes."""

from comfy_api.latest import io

FaceModelType = io.Custom("PV_FACE_MODEL")
IdentityType = io.Custom("PV_IDENTITY")
SemanticRewardType = io.Custom("PV_SEMANTIC_REWARD")
LoraModelType = io.Custom("LORA_MODEL")
LossMapType = io.Custom("LOSS_MAP")

CATEGORY = "PersonalVideo"
