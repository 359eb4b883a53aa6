"""Features of whole videos for a Frechet distance, by torchvision's S3D, trained on Kinetics-400.

FVD's own network is I3D, also trained on Kinetics-400, which no maintained library has; S3D (Xie et al., 2018) is I3D with
its convolutions split into space and time. Distances by the two cannot be compared, so say "S3D" with the figure.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from devkit import hostless_pack  # noqa: F401
from personalvideo_pack.evaluation.frames import evenly_spaced

WEIGHTS_FILE = "s3d-d76dad2f.pth"  # torchvision's S3D_Weights.KINETICS400_V1
FEATURES = 1024
CLIP_FRAMES = 16


def video_network(weights: Mapping[str, Tensor]) -> nn.Module:
    """S3D up to its classifier, frozen and on the CPU.

    weights: its state dict. Raises ValueError if they belong to another network.
    """
    from torchvision.models.video import s3d

    network = s3d(weights=None)
    try:
        network.load_state_dict(weights)
    except (RuntimeError, TypeError):
        raise ValueError(f"weights: they are not those of torchvision's S3D; take its file {WEIGHTS_FILE}.") from None
    network.classifier = nn.Identity()
    return network.eval().requires_grad_(False)


@torch.no_grad()
def video_features(network: nn.Module, videos: Sequence[Tensor]) -> Tensor:
    """The features [N, 1024], on the CPU, of videos [F, 3, H, W] in 0..1, which may differ in length and size.

    They are those of 16 evenly spaced frames, prepared as by the network's authors (256 x 256, of which the middle 224 x
    224).
    """
    from torchvision.models.video import S3D_Weights

    prepare = S3D_Weights.KINETICS400_V1.transforms()
    device = next(network.parameters()).device
    clips = (prepare(video[evenly_spaced(len(video), CLIP_FRAMES)].float())[None].to(device) for video in videos)
    return torch.cat([network(clip).float().cpu() for clip in clips])
