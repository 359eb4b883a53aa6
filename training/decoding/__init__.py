"""How single frames are decoded by the VAE of each family; each has a file, and ``frame_source`` chooses among them."""

from torch import nn

from .base import FrameSource, ImageFrames, IndependentFrames, WholeClip
from .cogvideo import CogVideoFrames
from .hunyuan import Hunyuan15Frames, HunyuanFrames
from .ltx import LtxFrames
from .taehv import TinyVideoFrames
from .wan import Wan21Frames, Wan22Frames

SOURCES = (
    IndependentFrames,
    ImageFrames,
    Wan21Frames,
    Wan22Frames,
    HunyuanFrames,
    Hunyuan15Frames,
    LtxFrames,
    CogVideoFrames,
    TinyVideoFrames,
    WholeClip,
)


def frame_source(vae, network: nn.Module) -> FrameSource:
    """The cheapest exact way to single frames that ``network``, of the host's ``vae``, allows.

    A network of an unknown class decodes the whole clip.
    """
    return next(source for source in SOURCES if source.fits(vae, network))(vae, network)
