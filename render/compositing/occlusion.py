"""Occlusion: a hand, a microphone, food in front of the mouth, seen in the picture itself.

In: frames of a shot, an actor's texture and track. Each frame is compared, small, with the actor's own colours at the
frame's own expression: the texture's colours with the mouth closed, half open and open, in the light of that frame.
Two things are looked for: connected parts of the lower face of quite another colour (they are kept on top), and lips
that are not there (the frame passes through). What is found must last over neighbouring frames of a shot; nothing
crosses a cut. Heads of other people that are known to lie in front are kept on top as well. Out: an `Occlusion`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import cv2
import numpy as np
import torch
from kornia.filters import gaussian_blur2d

from render.drawing.gbuffer import gbuffer
from render.drawing.masks import dilate
from render.drawing.neural_texture import COLOUR_BINS, COLOUR_CHANNELS, sample_texture
from render.head.face_model import FaceModel
from render.head.track import Track

#: Side of the crops that are compared, px.
LOOK_PX = 64
#: Blur before the comparison, and reach of the light seen on skin that is never drawn, px of such a crop.
DETAIL_SIGMA_PX, LIGHT_SIGMA_PX = 1.0, 12.0
#: Light over the lower face may differ from that by so much, linearly over the crop, in [0, 1] of sRGB.
LARGEST_LIGHT = 0.12
LIGHT_ROUNDS = 3
#: Difference in [0, 1] of sRGB that makes an occluder certain, and that still belongs to one.
SURE, LIKELY = 0.2, 0.1
#: An occluder covers this part of the lower face at least, and lies this much beside lips and mouth: smaller ones are
#: errors of the model, others may be teeth and tongue.
SMALLEST_PART, BESIDE_MOUTH = 0.02, 0.5
#: Lips are hidden where they are like their picture by less than this part of what is usual in the shot (where usual is
#: taken to be at least the second number). Likeness is the sum of two correlations, of luma and of redness.
HIDDEN_PART, LEAST_USUAL = 0.67, 1.5
#: How far an occluder is taken to go on beyond the edge of the lower face: 6 px.
BEYOND = np.ones((13, 13), np.uint8)
#: How far a head may go on beyond its outline, which is a guess: hair is as wide as it likes. What differs there from
#: the face behind it belongs to the head.
HEAD_REACH = 1.25
#: Part of lips and mouth under an occluder from which on the frame passes through.
COVERED = 0.3
#: Hidden stretches that are no further apart are one.
SAME_STRETCH_SECONDS = 0.3


@dataclass
class Occlusion:
    """What lies in front of one person's lower face, frame by frame.

    Attributes:
        hidden: [T] bool; the mouth is hidden, and cannot be drawn.
        masks: frame → bits of a mask [LOOK_PX, LOOK_PX] in crop space; frames without an occluder have none.
    """

    hidden: torch.Tensor
    masks: dict[int, bytes] = field(default_factory=dict)

    def mask(self, frame: int) -> np.ndarray | None:
        """Where something lies in front, bool [LOOK_PX, LOOK_PX] over the crop; None where nothing does."""
        return _unpacked(self.masks[frame]) if frame in self.masks else None

    def stored(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """The same as tensors and facts to store."""
        bits = np.frombuffer(b"".join(self.masks.values()), np.uint8).reshape(-1, LOOK_PX * LOOK_PX // 8)
        return {"hidden": self.hidden, "masks": torch.from_numpy(bits.copy())}, {"frames": list(self.masks)}

    @staticmethod
    def of(tensors: dict[str, torch.Tensor], facts: dict[str, Any]) -> "Occlusion":
        """The inverse of `stored`."""
        masks = {frame: bits.tobytes() for frame, bits in zip(facts["frames"], tensors["masks"].numpy(), strict=True)}
        return Occlusion(tensors["hidden"], masks)


class OccluderSeeker:
    """Looks at one person's frames, one by one, then tells what lasts. Keeps half a kilobyte a frame at most.

    Args:
        model: the face model.
        texture: [C, H, W] of the actor.
        track: of the person in the shot.
        heads: frame → outlines [N, K, 2], px, of other people's heads that lie before this one's; default none.
    """

    def __init__(
        self,
        model: FaceModel,
        texture: torch.Tensor,
        track: Track,
        heads: Mapping[int, np.ndarray] = MappingProxyType({}),
    ) -> None:
        self.model = model
        self.colours = texture[None, :COLOUR_CHANNELS].contiguous(memory_format=torch.channels_last)  # as it is sampled
        self.track = track.with_crop_size(LOOK_PX)
        self.likeness = torch.full((len(track),), torch.nan)
        self._covered = torch.zeros(len(track))
        self._masks: dict[int, bytes] = {}
        self.heads = heads
        self._behind_heads = torch.zeros(len(track), dtype=torch.bool)
        self._head_masks: dict[int, bytes] = {}

    def look(self, frame: int, crop: np.ndarray) -> None:
        """Take in a frame, with its crop uint8 [LOOK_PX, LOOK_PX, 3] of `track`."""
        picture = torch.from_numpy(crop).permute(2, 0, 1)[None].float() / 255
        buffer = gbuffer(self.model, self.track.clip_vertices(self.model, torch.tensor([frame])), LOOK_PX)
        sampled = sample_texture(self.colours, buffer)
        colours, still = sampled[:, :COLOUR_CHANNELS].unflatten(1, (COLOUR_BINS, 3))[0], sampled[:, -1:]
        light = _blurred((picture - colours) * still, LIGHT_SIGMA_PX) / (_blurred(still, LIGHT_SIGMA_PX) + 1e-4)
        real, expected = _blurred(picture, DETAIL_SIGMA_PX)[0], _blurred(colours, DETAIL_SIGMA_PX)
        lower_face = buffer.lower_face[0, 0] > 0
        mouth = dilate(buffer.mouth, 2)[0, 0] > 0
        around = (dilate(buffer.mouth, 4)[0, 0] > 0) & lower_face
        difference = difference_from(real, expected + _blurred(light, DETAIL_SIGMA_PX), lower_face)
        if frame in self.heads:
            self._look_at_heads(frame, mouth.numpy(), lower_face.numpy(), difference.numpy() > LIKELY)
        if not bool(around.any()):
            return
        self.likeness[frame] = likeness(real[:, around], expected[:, :, around])
        occluder = find_occluder(difference.numpy(), lower_face.numpy(), mouth.numpy())
        if occluder.any():
            self._masks[frame] = np.packbits(_with_beyond(occluder, lower_face.numpy())).tobytes()
            self._covered[frame] = float((occluder & mouth.numpy()).sum() / mouth.sum())

    def _look_at_heads(self, frame: int, mouth: np.ndarray, lower_face: np.ndarray, differs: np.ndarray) -> None:
        """Take in the heads that lie in front: all within their outlines, and what differs a little beyond."""
        crop_from_image = self.track.crop_from_image[frame].numpy()
        inner, outer = np.zeros((2, LOOK_PX, LOOK_PX), np.uint8)
        for outline in self.heads[frame]:
            corners = outline @ crop_from_image[:, :2].T + crop_from_image[:, 2]
            middle = corners.mean(0)
            for mask, reach in ((inner, 1.0), (outer, HEAD_REACH)):
                cv2.fillPoly(mask, [np.rint(middle + reach * (corners - middle)).astype(np.int32)], 1)
        heads = (inner > 0) | _with_beyond(differs & lower_face & (outer > 0), lower_face)
        if heads.any():
            self._head_masks[frame] = np.packbits(heads).tobytes()
            self._behind_heads[frame] = bool((mouth & heads).sum() > COVERED * mouth.sum())

    def covers(self, frame: int) -> bool:
        """Whether something was seen in front in this frame."""
        return frame in self._masks

    def occlusion(self) -> Occlusion:
        """What the frames show, kept where the frame before or after, within the shot, confirms it; and the heads."""
        usual = max(float(self.likeness.nanmedian().nan_to_num()), LEAST_USUAL)
        hidden = (self.likeness < HIDDEN_PART * usual) | (self._covered > COVERED)
        masks = {frame: mask for frame in self._masks if (mask := self._lasting(frame))}
        for frame, heads in self._head_masks.items():
            both = _unpacked(heads) | _unpacked(masks[frame]) if frame in masks else _unpacked(heads)
            masks[frame] = np.packbits(both).tobytes()
        hidden = lasting(hidden, self.likeness.isnan(), self.track.shot, self.track.timestamps)
        return Occlusion(hidden | self._behind_heads, dict(sorted(masks.items())))

    def _lasting(self, frame: int) -> bytes | None:
        """The part of a frame's mask that a neighbour confirms; None where that is nothing."""
        shot, times = self.track.shot, self.track.timestamps
        beside = [n for n in (frame - 1, frame + 1) if 0 <= n < len(shot) and shot[n] == shot[frame]]
        if any(abs(float(times[n] - times[frame])) > SAME_STRETCH_SECONDS for n in beside):
            return self._masks[frame]  # at such a rate of frames none confirms another
        near = [_unpacked(self._masks[other]) for other in beside if other in self._masks]
        if not near:
            return None
        reach = cv2.dilate(np.maximum.reduce(near).astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
        mask = _unpacked(self._masks[frame]) & reach
        return np.packbits(mask).tobytes() if mask.any() else None


def _with_beyond(occluder: np.ndarray, lower_face: np.ndarray) -> np.ndarray:
    """It goes on beyond the face: what is drawn there must not lie on top of it."""
    beyond = cv2.dilate(occluder.astype(np.uint8), BEYOND) > 0
    return occluder | beyond & ~lower_face


def likeness(real: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
    """How much pixels [3, N] around the mouth are like the best of their expected colours [bins, 3, N]: −2 to 2.

    The sum of the correlations of luma and of red less green, which lips have more of than skin: neither a light nor
    its colour matters.
    """

    def features(rgb: torch.Tensor) -> torch.Tensor:
        values = torch.stack([rgb.mean(-2), rgb[..., 0, :] - rgb[..., 1, :]], -2)
        return values - values.mean(-1, keepdim=True)

    real_features, expected_features = features(real), features(expected)
    scale = real_features.norm(dim=-1) * expected_features.norm(dim=-1) + 1e-3
    return ((real_features * expected_features).sum(-1) / scale).sum(-1).amax()


def difference_from(real: torch.Tensor, expected: torch.Tensor, lower_face: torch.Tensor) -> torch.Tensor:
    """Distance [H, W] of a picture [3, H, W] from the nearest of its expected colours [bins, 3, H, W], light apart.

    A light that varies linearly over the lower face is fitted to most of it (iteratively reweighted least squares).

    Args:
        real: sRGB in [0, 1].
        expected: sRGB in [0, 1].
        lower_face: bool [H, W], the lower face; the distance is 0 elsewhere.
    """
    height, width = lower_face.shape
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    basis = torch.stack([torch.ones_like(x), x, y], -1)[lower_face]  # [N, 3]
    pixels, bins = real[:, lower_face], expected[:, :, lower_face]  # [3, N], [bins, 3, N]
    light = torch.zeros_like(pixels)
    for _ in range(LIGHT_ROUNDS):
        nearest = (pixels - bins - light).abs().amax(1).argmin(0)  # [N]
        missing = pixels - bins.gather(0, nearest.expand(1, 3, -1))[0]
        weight = 1 / (1 + ((missing - light).abs().amax(0) / 0.05) ** 2)
        weighted = basis * weight[:, None]
        factors = torch.linalg.solve(weighted.T @ basis + 0.1 * torch.eye(3), weighted.T @ missing.T)
        light = (basis @ factors).T.clamp(-LARGEST_LIGHT, LARGEST_LIGHT)
    result = torch.zeros(height, width)
    result[lower_face] = (pixels - bins - light).abs().amax(1).amin(0)
    return result


def find_occluder(difference: np.ndarray, lower_face: np.ndarray, mouth: np.ndarray) -> np.ndarray:
    """Connected parts of the lower face that are surely something else, bool [H, W].

    Args:
        difference: float32 [H, W] of `difference_from`.
        lower_face: bool [H, W] the lower face.
        mouth: bool [H, W] lips and mouth, a little widened.
    """
    likely = ((difference > LIKELY) & lower_face).astype(np.uint8)
    count, label, stats, _ = cv2.connectedComponentsWithStats(likely, connectivity=4)
    result = np.zeros_like(lower_face)
    least = SMALLEST_PART * lower_face.sum()
    for number in range(1, count):
        part = label == number
        sure = part & (difference > SURE)
        beside = int((sure & ~mouth).sum())
        if stats[number, cv2.CC_STAT_AREA] >= least and beside >= max(BESIDE_MOUTH * sure.sum(), least):
            result |= part
    return result


def lasting(hidden: torch.Tensor, unknown: torch.Tensor, shot: torch.Tensor, timestamps: torch.Tensor) -> torch.Tensor:
    """Hidden frames with a hidden neighbour in their shot, short gaps between them filled.

    Args:
        hidden: [T] bool.
        unknown: [T] bool; frames that were not looked at: they confirm a hidden neighbour, as do those further away
            than `SAME_STRETCH_SECONDS`, which do not speak against it.
        shot: [T].
        timestamps: [T] seconds.

    Returns:
        bool [T].
    """
    same = shot[1:] == shot[:-1]
    far = timestamps[1:] - timestamps[:-1] > SAME_STRETCH_SECONDS
    kept = torch.zeros_like(hidden)
    kept[1:] |= hidden[1:] & ((hidden | unknown)[:-1] | far) & same
    kept[:-1] |= hidden[:-1] & ((hidden | unknown)[1:] | far) & same
    frames = kept.nonzero()[:, 0].tolist()
    for first, last in zip(frames, frames[1:], strict=False):
        if shot[first] == shot[last] and timestamps[last] - timestamps[first] <= SAME_STRETCH_SECONDS:
            kept[first:last] = True
    return kept


def _unpacked(bits: bytes) -> np.ndarray:
    return np.unpackbits(np.frombuffer(bits, np.uint8)).reshape(LOOK_PX, LOOK_PX).astype(bool)


def _blurred(image: torch.Tensor, sigma_px: float) -> torch.Tensor:
    size = 2 * round(3 * sigma_px) + 1
    return gaussian_blur2d(image, (size, size), (sigma_px, sigma_px), "replicate")
