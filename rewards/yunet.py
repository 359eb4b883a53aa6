"""YuNet, the face detector of the OpenCV zoo, with a second look that makes its landmarks steady."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from .alignment import TEMPLATE_SIZE, aligned_crops, map_points, similarity_matrices
from .detection import Detection, Detector
from .onnx_network import OnnxNetwork

YUNET_FILE = "face_detection_yunet_2023mar.onnx"
STRIDES = (8, 16, 32)
LONGEST_SIDES = (1280, 320)  # YuNet knows faces of 10 to 300 pixels: one size for small ones, one for large ones
CANDIDATE_SCORE = 0.5
FACE_SCORE = 0.7
OVERLAP = 0.3
MOST_FACES = 8  # the largest ones of a frame get the second look; the others are left out
CLOSE_UP, CLOSE_UP_FACE = 320, 160  # the upright close-up of the second look, and the aligned square's side in it
SECOND_LOOKS = 2
PICTURES_AT_ONCE = 8
MIRRORED = [1, 0, 2, 4, 3]  # which landmark takes which one's place in a mirrored face


class YuNet(Detector):
    """The detector of a YuNet file.

    Raises ImportError, in one sentence, if torchvision cannot be imported, ValueError if the file is another network.
    """

    def __init__(self, path: str | Path):
        self._nms = _import_nms()
        self.name, self._network = Path(path).name, OnnxNetwork(path)
        expected = [f"{kind}_{stride}" for kind in ("cls", "obj", "bbox", "kps") for stride in STRIDES]
        if self._network.output_names != expected:
            raise ValueError(f"{Path(path).name}: it is no YuNet face detector; take {YUNET_FILE} of the OpenCV zoo.")
        self._network.check()

    @property
    def network(self) -> OnnxNetwork:
        return self._network

    @torch.no_grad()
    def detect(self, frames: Tensor) -> list[list[Detection]]:
        """At most MOST_FACES faces a frame. Each is searched in the whole frame at two sizes, and then again in an
        upright close-up and its mirror image, whose mean landmarks count."""
        frames = frames.to(next(self.network.buffers()).device, torch.float32)
        return [self._in_frame(frame[None]) for frame in frames]

    def _in_frame(self, frame: Tensor) -> list[Detection]:
        boxes, landmarks, scores = self.first_look(frame)
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
        largest = areas.argsort(descending=True)[:MOST_FACES].sort().values  # still the best first
        if not len(largest):
            return []
        landmarks, scores = self._second_look(frame, landmarks[largest], scores[largest])
        found: list[Detection] = []
        for box, points, score in zip(boxes[largest], landmarks, scores.tolist()):
            if score >= FACE_SCORE and not any(_same_face(points, other.landmarks) for other in found):
                found.append(Detection(tuple(box.tolist()), points, score))
        return found

    def first_look(self, frame: Tensor, longest_sides: tuple[int, ...] = LONGEST_SIDES) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes [F, 4], landmarks [F, 5, 2] and scores [F] of one frame [1, 3, H, W], best first."""
        height, width = frame.shape[-2:]
        found = []
        for longest in longest_sides:
            factor = min(1.0, longest / max(height, width))
            rows, columns = max(1, round(height * factor)), max(1, round(width * factor))
            picture = frame
            if factor < 1:
                picture = F.interpolate(frame, size=(rows, columns), mode="bilinear", antialias=True)
            boxes, landmarks, scores = (values[0] for values in self._run(picture))
            likely = scores > CANDIDATE_SCORE
            scale = scores.new_tensor([width / columns, height / rows])
            points = torch.cat([boxes[likely].view(-1, 2, 2), landmarks[likely]], dim=1)
            found.append(((points + 0.5) * scale - 0.5, scores[likely]))
        points, scores = (torch.cat(values) for values in zip(*found))
        boxes = points[:, :2].reshape(-1, 4)
        kept = self._nms(boxes, scores, OVERLAP)
        return boxes[kept], points[kept, 2:], scores[kept]

    def _second_look(self, frame: Tensor, landmarks: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Better landmarks, and the score that the face has at YuNet's best size; 0 where it is not seen again."""
        for _ in range(SECOND_LOOKS):
            crop = similarity_matrices(landmarks)
            # close-up pixel -> pixel of the aligned square -> frame pixel
            factor = TEMPLATE_SIZE / CLOSE_UP_FACE
            shift = (0.5 - (CLOSE_UP - CLOSE_UP_FACE) / 2) * factor - 0.5
            linear = crop[:, :, :2] * factor
            matrices = torch.cat([linear, map_points(crop, crop.new_full((1, 1, 2), shift)).mT], dim=2)
            pictures = aligned_crops(frame.expand(len(matrices), -1, -1, -1), matrices, CLOSE_UP, "border")
            points, scores = self._central(pictures)
            mirrored, mirrored_scores = self._central(pictures.flip(3))
            mirrored = torch.stack([CLOSE_UP - 1 - mirrored[..., 0], mirrored[..., 1]], dim=2)[:, MIRRORED]
            scores = torch.minimum(scores, mirrored_scores)
            refined = map_points(matrices, (points + mirrored).double() / 2)
            landmarks = torch.where((scores > CANDIDATE_SCORE)[:, None, None], refined, landmarks.double())
        return landmarks, scores

    def _central(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Landmarks [N, 5, 2] and scores [N] of the best face near the middle of each square picture."""
        boxes, landmarks, scores = self._run(pictures)
        centres = boxes.view(*boxes.shape[:2], 2, 2).mean(dim=2)
        off_centre = (centres - (CLOSE_UP - 1) / 2).abs().amax(dim=-1)
        scores, best = scores.masked_fill(off_centre > CLOSE_UP_FACE / 3, 0).max(dim=1)
        return landmarks[torch.arange(len(best)), best], scores

    def _run(self, pictures: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """All candidates of pictures [N, 3, H, W] in 0..1: boxes [N, A, 4], landmarks [N, A, 5, 2], scores [N, A];
        on the CPU."""
        parts = [self._decode(part) for part in pictures.split(PICTURES_AT_ONCE)]
        boxes, landmarks, scores = (torch.cat(values) for values in zip(*parts))
        return boxes, landmarks, scores

    def _decode(self, pictures: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        height, width = pictures.shape[-2:]
        blue_green_red = F.pad(pictures.flip(1) * 255, (0, -width % 32, 0, -height % 32))
        outputs = dict(zip(self.network.output_names, self.network(blue_green_red)))
        rows, columns = blue_green_red.shape[-2] // 8, blue_green_red.shape[-1] // 8
        found = []
        for stride in STRIDES:
            shape = rows * 8 // stride, columns * 8 // stride
            y, x = torch.meshgrid(*(torch.arange(size, device=pictures.device) for size in shape), indexing="ij")
            cells = torch.stack([x, y], dim=-1).view(1, -1, 2)
            certainty = outputs[f"cls_{stride}"].clamp(0, 1) * outputs[f"obj_{stride}"].clamp(0, 1)
            box = outputs[f"bbox_{stride}"]
            centre, half = (cells + box[..., :2]) * stride, box[..., 2:].exp() * stride / 2
            landmarks = (cells[:, :, None] + outputs[f"kps_{stride}"].unflatten(-1, (5, 2))) * stride
            found.append((torch.cat([centre - half, centre + half], dim=-1), landmarks, certainty.sqrt()[..., 0]))
        boxes, landmarks, scores = (torch.cat(values, dim=1).cpu() for values in zip(*found))
        return boxes, landmarks, scores


def _same_face(landmarks: Tensor, others: Tensor) -> bool:
    """Whether two sets of landmarks [5, 2] lie closer than two heads can: parts of a large face lead to the whole."""
    return bool((landmarks.mean(dim=0) - others.mean(dim=0)).norm() < (others[1] - others[0]).norm())


def _import_nms():
    """torchvision's non-maximum suppression.

    The import stands here because a torchvision that was built for another PyTorch raises RuntimeError; at the top of
    the module it would keep the whole pack from loading.
    """
    try:
        from torchvision.ops import nms
    except (ImportError, RuntimeError, OSError) as error:
        raise ImportError(
            f"Finding faces with YuNet needs torchvision, which cannot be imported ({str(error).splitlines()[0][:120]}); install "
            f"the torchvision that fits PyTorch {torch.__version__} in ComfyUI's Python and restart, choose an insightface pack, "
            "or connect detector."
        ) from error
    return nms
