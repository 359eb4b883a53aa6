"""Face recognizers of ONNX files as differentiable torch modules."""

import hashlib
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..sentences import reason
from .alignment import TEMPLATE_SIZE
from .onnx_network import OnnxNetwork

SMALLEST_EMBEDDING = 64
ARCFACE_DEPTHS = {21: 18, 37: 34, 53: 50, 103: 100, 201: 200}  # convolutions -> the name's number of layers


class Recognizer(nn.Module):
    """Aligned crops to unit embeddings, by an ArcFace-like network.

    fingerprint: hash of the weights as they are in the file, whatever ``dtype`` they run in.
    Raises ValueError, naming the file, if it gives no embedding of a 112 x 112 face.
    """

    def __init__(self, path: str | Path, dtype: torch.dtype = torch.float32):
        super().__init__()
        self.network = OnnxNetwork(path).eval()
        self.network.check()
        self._check_layout(Path(path).name)
        digest = hashlib.sha256()
        for weight in self.network.buffers():
            digest.update(weight.contiguous().numpy().tobytes())
        self.fingerprint = digest.hexdigest()
        self.to(dtype)

    def forward(self, crops: Tensor) -> Tensor:
        """crops [N, 3, 112, 112] in 0..1 (RGB) -> [N, D], unit length, float32 or better. Differentiable."""
        weight = next(self.network.buffers())
        pictures = crops * 255 if self.network.embeds_normalisation else crops * 2 - 1
        [embeddings] = self.network(pictures.to(weight))
        return F.normalize(embeddings.to(torch.promote_types(embeddings.dtype, torch.float32)), dim=-1)

    @property
    def architecture(self) -> str:
        """ResNet-50, ResNet-100, ... by the number of its convolutions; empty for others."""
        depth = ARCFACE_DEPTHS.get(self.network.count("Conv"))
        return f"ResNet-{depth}" if depth else ""

    def _check_layout(self, file: str) -> None:
        side = TEMPLATE_SIZE
        if self.network.input_size not in (None, (side, side)):
            height, width = self.network.input_size
            raise ValueError(
                f"{file}: it takes pictures of {width} x {height}, and a face recognizer of this kind "
                f"{side} x {side}; choose another file."
            )
        dtypes = [weight.dtype for weight in self.network.buffers()]
        try:
            with torch.no_grad():
                outputs = self.network(torch.zeros(2, 3, side, side, dtype=dtypes[0] if dtypes else None))
        except RuntimeError as error:  # its shapes are for one picture alone
            raise ValueError(f"{file}: it recognizes no two faces at once ({reason(error)}); choose another file.") from error
        if not all(output.isfinite().all() for output in outputs):
            raise ValueError(f"{file}: what it gives for a face are no numbers; download it again.")
        shapes = [tuple(output.shape) for output in outputs]
        if len(shapes) != 1 or len(shapes[0]) != 2 or shapes[0][0] != 2 or shapes[0][1] < SMALLEST_EMBEDDING:
            listed = ", ".join(" x ".join(map(str, shape)) for shape in shapes)
            raise ValueError(
                f"{file}: for 2 faces it gives {listed}, and a recognizer 2 x {SMALLEST_EMBEDDING} or more "
                "numbers, one embedding a face; choose another file."
            )
        if not dtypes:
            raise ValueError(f"{file}: there is no weight in it; choose another file.")
