"""Files with scaled 8-bit weights, as they are published for large models: gradients are those on the weights' values."""

import folder_paths
import nodes
import pytest
import torch
from safetensors.torch import save_file

from devkit import tiny_models
from devkit.families import FAMILIES, conditioning
from devkit.gradients import Case, gradient

LARGEST_E4M3 = 448.0


def write_scaled_fp8(family, quantised, dequantised):
    """The same weights twice: with the blocks' matrices in 8 bits with a scale each, and with their values in 32 bits."""
    state = tiny_models.diffusion_state(family)
    eight, full = dict(state), dict(state)
    for name, weight in state.items():
        if "blocks." in name and name.endswith(".weight") and weight.ndim == 2:
            scale = weight.abs().max() / LARGEST_E4M3
            eight[name] = (weight / scale).to(torch.float8_e4m3fn)
            eight[name.replace(".weight", ".scale_weight")] = scale
            full[name] = eight[name].float() * scale
    eight["scaled_fp8"] = torch.zeros(2, dtype=torch.float8_e4m3fn)  # two: multiply in full precision
    save_file(eight, quantised)
    save_file(full, dequantised)


@pytest.mark.parametrize("checkpointing", ["off", "blocks"])
@pytest.mark.parametrize("family", ["wan21", "hunyuan_video"])
def test_gradient_on_scaled_weights_is_that_on_their_values(pack, tmp_path, family, checkpointing):
    write_scaled_fp8(family, tmp_path / "eight.safetensors", tmp_path / "full.safetensors")
    folder_paths.add_model_folder_path("diffusion_models", str(tmp_path), is_default=True)
    gradients = []
    for file in ("full.safetensors", "eight.safetensors"):
        with torch.inference_mode():
            model = nodes.UNETLoader().load_unet(file, "default")[0]
        case = Case(model, conditioning(family, 1), conditioning(family, 2), 1.0, FAMILIES[family].latent_shape)
        gradients.append(gradient(pack, case, checkpointing))
    assert "QuantizedTensor" in {type(weight).__name__ for weight in model.model.parameters()}
    assert (gradients[1] - gradients[0]).norm() < 1e-4 * gradients[0].norm()
