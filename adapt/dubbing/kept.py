"""Kept drawings: what a dub put into frames is kept until its video is finished, so that an interrupted one goes on.

Kept are the samples that changed, frame by frame, some frames in a file, in the user's cache folder (`Found`), under a
hash of all that decides them. The frames that were drawn are only written again, to the same bytes. What lies in front
of mouths, which takes long to look for, is kept there under a hash of all that is looked at.
"""

import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
import torch

from adapt.cache import Found, code_sha256, content_key, library_versions
from adapt.device import arithmetic
from adapt.dubbing.options import DubOptions
from adapt.dubbing.part import Part
from adapt.dubbing.weights import Handover
from render.compositing.occlusion import Occlusion
from render.head.track import Track
from render.video.reader import Footage

#: Frames of one file: so many are drawn again where a run was killed. What one that is interrupted has is kept at once.
FRAMES_A_FILE = 48
LIBRARIES = "numpy", "opencv-python-headless", "opencv-contrib-python", "av"


@dataclass(frozen=True)
class Window:
    """Samples [H, W] of one plane, and where in it they lie."""

    top: int
    left: int
    samples: np.ndarray

    @staticmethod
    def of(before: np.ndarray, after: np.ndarray) -> "Window":
        """What differs of a plane, or no samples."""
        different = before != after
        rows, columns = (np.flatnonzero(different.any(axis)) for axis in (1, 0))
        if not len(rows):
            return Window(0, 0, after[:0, :0])
        top, left = int(rows[0]), int(columns[0])
        return Window(top, left, after[top : rows[-1] + 1, left : columns[-1] + 1].copy())  # without all of the plane


@dataclass(frozen=True)
class DrawnFrame:
    """What became of one frame.

    Attributes:
        windows: of each plane what changed.
        shown: for each part, whether anything of its mouth is seen.
        changed: share of the frame's coded samples that differ from the source's.
        in_front: whether something in front of a mouth was left there.
    """

    windows: tuple[Window, ...]
    shown: tuple[bool, ...]
    changed: float
    in_front: bool = False

    @staticmethod
    def of(
        source: Sequence[np.ndarray], planes: Sequence[np.ndarray], shown: Sequence[bool], in_front: bool = False
    ) -> "DrawnFrame":
        """From the planes of a frame before and after."""
        pairs = list(zip(source, planes, strict=True))
        changed = sum(int(np.count_nonzero(new != old)) for old, new in pairs)
        windows = tuple(Window.of(*pair) for pair in pairs)
        return DrawnFrame(windows, tuple(shown), changed / sum(plane.size for plane in source), in_front)

    def planes(self, source: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The frame's planes, from those of the source."""
        planes = [plane.copy() for plane in source]
        for plane, window in zip(planes, self.windows, strict=True):
            height, width = window.samples.shape
            plane[window.top : window.top + height, window.left : window.left + width] = window.samples
        return planes


class KeptDrawings:
    """Frames of one dub that were drawn, by number; those of an interrupted run of the same are there from the start.

    Args:
        found: where they are kept.
        key: of `drawing_key`.
        wanted: numbers of the frames into which anything is to be drawn, ascending.

    Attributes:
        first: the first of these that was not drawn before; None where all were.
    """

    def __init__(self, found: Found, key: str, wanted: Sequence[int]) -> None:
        self.found, self.key = found, key
        self.files = sorted({frame // FRAMES_A_FILE for frame in wanted})
        self._number, self._frames, self._is_new = -1, dict[int, DrawnFrame](), False
        self._last: int | None = None
        self.first = next((frame for frame in wanted if not self._is_kept(frame)), None)

    def _is_kept(self, frame: int) -> bool:
        """Whether a frame is kept; of files that are followed by another one, whether that is there."""
        number = frame // FRAMES_A_FILE
        if not self.found.holds(self._key(number)):
            return False
        after = next((other for other in self.files if other > number), None)
        return (after is not None and self.found.holds(self._key(after))) or self.get(frame) is not None

    def get(self, frame: int) -> DrawnFrame | None:
        """A frame that was drawn before, or None; asked for in ascending order."""
        self._turn_to(frame // FRAMES_A_FILE)
        return self._frames.get(frame)

    def add(self, frame: int, drawn: DrawnFrame) -> None:
        """Keep a frame."""
        if self.found.folder is not None:
            self._turn_to(frame // FRAMES_A_FILE)
            self._frames[frame] = drawn
            self._last, self._is_new = frame, True

    @contextmanager
    def saved_when_interrupted(self, note: Callable[[str], None]) -> Iterator[None]:
        """Write what is not yet written where Ctrl-C, or anything else, ends the work, and note that."""
        try:
            yield
        except BaseException:
            self._save()
            if self._last is not None:
                note(
                    f"not finished; what was drawn up to frame {self._last} is kept, and the same command goes on there"
                )
            raise

    def forget(self) -> None:
        """Remove all of it: the video is finished."""
        self._is_new = False
        for number in self.files:
            self.found.forget(self._key(number))

    def _key(self, number: int) -> str:
        return f"{self.key}-{number}"

    def _turn_to(self, number: int) -> None:
        """Write the file at hand, and read another."""
        if number == self._number:
            return
        self._save()
        self._number, self._frames = number, {}
        if kept := self.found.read(self._key(number)):
            self._frames = _frames(*kept)

    def _save(self) -> None:
        if self._is_new:
            self.found.write(self._key(self._number), *_stored(self._frames))
            self._is_new = False


def _stored(frames: dict[int, DrawnFrame]) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    tensors, facts = {}, {}
    for number, frame in frames.items():
        samples = b"".join(np.ascontiguousarray(window.samples).tobytes() for window in frame.windows)
        tensors[str(number)] = torch.frombuffer(bytearray(zlib.compress(samples, 1)), dtype=torch.uint8)
        facts[str(number)] = {
            "windows": [[window.top, window.left, *window.samples.shape] for window in frame.windows],
            "type": frame.windows[0].samples.dtype.str,
            "shown": list(frame.shown),
            "changed": frame.changed,
            "in_front": frame.in_front,
        }
    return tensors, facts


def _frames(tensors: dict[str, torch.Tensor], facts: dict[str, Any]) -> dict[int, DrawnFrame]:
    frames = {}
    for name, packed in tensors.items():
        told, windows, start = facts[name], [], 0
        samples = np.frombuffer(zlib.decompress(packed.numpy().tobytes()), told["type"])
        for top, left, height, width in told["windows"]:
            windows.append(Window(top, left, samples[start : start + height * width].reshape(height, width)))
            start += height * width
        frames[int(name)] = DrawnFrame(tuple(windows), tuple(told["shown"]), told["changed"], told["in_front"])
    return frames


def drawing_key(
    footage: Footage,
    parts: Sequence[Part],
    handovers: Sequence[Handover],
    occlusions: Sequence[Occlusion | None],
    options: DubOptions,
) -> str:
    """What the drawings of a dub are kept under: all that decides the samples, but not how they are encoded.

    Args:
        footage: the shot.
        parts: as they are drawn.
        handovers: of each part.
        occlusions: of each part what lies in front.
        options: what of them matters.
    """
    tensors: list[torch.Tensor] = []
    masks: list[bytes] = []
    for part, handover, occlusion in zip(parts, handovers, occlusions, strict=True):
        bundle = part.bundle
        tensors += [*_seen_of(part.track), part.track.confidence, part.expression, handover.weight, bundle.texture]
        named_tensors = (bundle.delta, bundle.bank, bundle.detail, part.regions)
        tensors += [named[name] for named in named_tensors for name in sorted(named)]
        masks += [f"{frame}".encode() + mask for frame, mask in sorted(occlusion.masks.items())] if occlusion else []
    return content_key(
        {
            "what": "drawings",
            "footage": footage.sha256,
            "progressive": footage.progressive,
            "drawn": _digest(tensors, masks),
            "prior": [part.prior.sha256 for part in parts],
            "settings": [options.region, options.grain, options.seed],
            "regions": [sorted(part.regions) for part in parts],
            "code": code_sha256("adapt.dubbing.redraw"),
            "libraries": library_versions(*LIBRARIES),
            "torch": torch.__version__,
            **arithmetic(options.device),
        }
    )


def occlusion_key(part: Part, wanted: torch.Tensor) -> str:
    """What the occlusion of a part is kept under: all that is looked at, but not what is drawn.

    Args:
        part: that is looked at.
        wanted: [T] bool, the frames that are.
    """
    outlines = [
        f"{frame}".encode() + np.ascontiguousarray(outline).tobytes() for frame, outline in sorted(part.heads.items())
    ]
    seen = [*_seen_of(part.track), part.bundle.texture, wanted]
    return content_key(
        {
            "what": "occlusion",
            "footage": part.track.source.get("sha256"),
            "looked at": _digest(seen, outlines),
            "code": code_sha256("render.compositing.occlusion", "render.drawing.crop", "render.video.reader"),
            "torch": torch.__version__,
        }
    )


def _seen_of(track: Track) -> list[torch.Tensor]:
    """What of a track decides where things lie in the picture."""
    place = [track.crop_from_image, track.rotation, track.translation, track.focal_px, track.shape]
    return [*place, track.lower_expression, track.upper_expression, track.timestamps, track.shot]


def _digest(tensors: Iterable[torch.Tensor], rest: Iterable[bytes]) -> str:
    digest = sha256()
    for tensor in tensors:
        digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().cpu().view(torch.uint8 if tensor.ndim else tensor.dtype).numpy().tobytes())
    for data in rest:
        digest.update(data)
    return digest.hexdigest()
