"""The tiny VAE of a model's latents, from the file that the host's own previews use."""

from typing import cast

import comfy.sd
import comfy.utils
import folder_paths
import torch

FOLDER = "vae_approx"
IMAGE_DECODER = "taesd_decoder"


def tiny_vae_file(latent_format) -> str | None:
    """The file in models/vae_approx that decodes latents of this format, None if there is none."""
    name = latent_format.taesd_decoder_name
    if name is None:
        return None
    return next((file for file in folder_paths.get_filename_list(FOLDER) if file.startswith(name)), None)


def load_tiny_vae(latent_format):
    """The host's VAE of that file, with the way to load it again that the host's own loaders give theirs; or None."""
    file = tiny_vae_file(latent_format)
    if file is None:
        return None
    weights = cast(dict, comfy.utils.load_torch_file(folder_paths.get_full_path_or_raise(FOLDER, file), safe_load=True))
    if latent_format.latent_dimensions == 2 and not any(name.startswith(f"{IMAGE_DECODER}.") for name in weights):
        weights = {f"{IMAGE_DECODER}.{name}": weight for name, weight in weights.items()}
        weights["vae_scale"] = torch.tensor(latent_format.scale_factor)
    vae = comfy.sd.VAE(sd=weights)
    vae.patcher.cached_patcher_init = (lambda disable_dynamic: comfy.sd.VAE(sd=weights).patcher, ())
    return vae
