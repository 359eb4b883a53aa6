"""Prompts in API format for the server tests: the demo's training and sampling, made small enough for a test."""

import copy

PROMPTS = "\n".join(
    [
        "a sks person on the beach, wearing a red shirt, moving left",
        "a sks person in the snow, wearing a blue shirt, nodding",
        "a sks person in a room, wearing a green shirt, coming closer",
    ]
)

_TRAIN = {
    "demo": {"class_type": "PersonalVideoLoadDemo", "inputs": {}},
    "identity": {
        "class_type": "PersonalVideoLoadIdentityImages",
        "inputs": {"face_model": ["demo", 3], "folder": "demo/Aro"},
    },
    "train": {
        "class_type": "PersonalVideoTrainAdapter",
        "inputs": {
            "model": ["demo", 0], "clip": ["demo", 1], "vae": ["demo", 2], "identity": ["identity", 0],
            "semantic_reward": ["demo", 5], "prompts": PROMPTS, "negative_prompt": "", "width": 64, "height": 64,
            "length": 4, "steps": 2, "sampling_steps": 8, "cfg": 2.0, "scheduler": "simple", "start_percent": 0.75,
            "seed": 0, "filename_prefix": "loras/test", "gradient_steps": 1, "rank": 4, "alpha": 4.0,
            "learning_rate": 1e-3, "weight_decay": 0.01, "identity_weight": 1.0, "semantic_weight": 1.0,
            "preserve_weight": 1.0, "num_frames": 2, "bank_seeds": 1, "save_every": 50, "preview_every": 1,
            "existing_lora": "[None]", "preset": "custom", "augmentation": "robust", "identity_frames": 1,
            "gradient_checkpointing": "off", "trigger_word": "sks", "learning_rate_schedule": "constant",
            "identity_cap": 0.0, "vae_gradient_chunks": 0, "teacher_bank": "auto", "bank_folder": "",
        },
    },
}  # fmt: skip

_SAMPLE = {
    "demo": {"class_type": "PersonalVideoLoadDemo", "inputs": {}},
    "positive": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["demo", 1], "text": "a person in the snow"}},
    "negative": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["demo", 1], "text": ""}},
    "apply": {
        "class_type": "PersonalVideoApplyLateStepLora",
        "inputs": {
            "model": ["demo", 0], "lora_name": "demo style noir.safetensors", "strength_model": 1.0,
            "start_percent": -1.0, "end_percent": -1.0,
        },
    },
    "sample": {
        "class_type": "PersonalVideoSampleVideo",
        "inputs": {
            "model": ["apply", 0], "positive": ["positive", 0], "negative": ["negative", 0], "vae": ["demo", 2],
            "width": 64, "height": 64, "length": 4, "seed": 0, "steps": 4, "cfg": 1.0, "sampler_name": "euler",
            "scheduler": "simple", "fps": 8.0,
        },
    },
    "save": {
        "class_type": "SaveAnimatedWEBP",
        "inputs": {
            "images": ["sample", 1], "filename_prefix": "test", "fps": 8.0, "lossless": True, "quality": 90,
            "method": "default",
        },
    },
}  # fmt: skip


def _changed(graph: dict, changes: dict) -> dict:
    """``graph`` with ``changes``, such as {"train": {"steps": 3}}; a new name with a "class_type" adds a node."""
    graph = copy.deepcopy(graph)
    for name, values in changes.items():
        if "class_type" in values:
            graph[name] = values
        else:
            graph[name]["inputs"] |= values
    return graph


def train_graph(**changes) -> dict:
    return _changed(_TRAIN, changes)


def sample_graph(**changes) -> dict:
    return _changed(_SAMPLE, changes)
