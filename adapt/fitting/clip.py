"""Clips as a fit reads them: crops in memory, the network's inputs for single frames, and the look that is adapted."""

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from prior.renderer.bank_choice import bank_frames, bank_of
from prior.renderer.mouth_features import load_mouth_features
from prior.renderer.prior import RendererPrior
from prior.renderer.unwrapping import enrollment_of
from render.drawing.look import Bank, Look
from render.drawing.renderer import RenderInputs, render_inputs
from render.head.track import Track

#: Inputs of so many frames are kept while learning; 2 MB each.
KEPT_INPUTS = 160
#: A frame is learnt from and judged without those of the bank that are nearer in time: they would be copied.
APART_SECONDS = 0.2


@dataclass(frozen=True)
class FitClip:
    """One clip as a fit reads it.

    Attributes:
        track: of the actor, every frame of the video.
        frames: [N] int64 frame numbers whose crops are held.
        crops: [N, 3, H, W] uint8 sRGB.
        learn: [L] rows of `frames` to learn from; `held_out`: [M] rows to judge by.
        held_out: [M].
    """

    track: Track
    frames: torch.Tensor
    crops: torch.Tensor
    learn: torch.Tensor
    held_out: torch.Tensor


@dataclass(frozen=True)
class FirstLook:
    """An actor's look before any step.

    Attributes:
        look: of the prior's encoder, and the bank.
        frames: of each frame of the bank the number of its clip, and of the frame there.
        seconds: when each was.
    """

    look: Look
    frames: list[tuple[int, int]]
    seconds: list[float]

    def bank_for(self, number: int, seconds: float) -> Bank:
        """The bank for a frame of the clip of that number: what lies within `APART_SECONDS` of it is hidden."""
        near = [
            clip == number and abs(time - seconds) < APART_SECONDS
            for (clip, _), time in zip(self.frames, self.seconds, strict=True)
        ]
        bank = self.look.bank
        return bank.without(torch.tensor([near], device=bank.seen.device)) if any(near) else bank


def first_look(prior: RendererPrior, clips: Sequence[FitClip]) -> FirstLook:
    """The unadapted look of an actor, from the frames to learn from."""
    parts = [(clip.track, clip.frames[clip.learn], clip.crops[clip.learn].float() / 255) for clip in clips]
    frames, rows = bank_frames(prior.model, prior.renderer, *parts)
    with torch.no_grad():
        texture = prior.encode(enrollment_of(prior.model, *parts))
    chosen = [(number, int(parts[number][1][row])) for number, row in rows]
    seconds = [float(clips[number].track.timestamps[frame]) for number, frame in chosen]
    return FirstLook(Look(texture, bank_of(prior.model, frames).rounded()), chosen, seconds)


class FrameReader:
    """What the network and the loss read of single frames of clips, narrowed to what is seen; kept once made.

    Attributes:
        prior: renderer prior; not changed.
        clips: where the frames are from.
        first: look that is adapted, on `device`.
        device: where they are put.
        renderer: the prior's, laid out for speed, on `device`.
        features: what mouths are compared by, on `device`.
        made: how many inputs were made, in `seconds_to_make`.
    """

    def __init__(self, prior: RendererPrior, clips: Sequence[FitClip], first: FirstLook, device: str = "cpu") -> None:
        self.prior, self.clips, self.device = prior, clips, torch.device(device)
        self.first = replace(first, look=first.look.to(self.device))
        renderer = copy.deepcopy(prior.renderer).to(self.device)
        self.renderer = renderer.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.features = load_mouth_features().to(self.device)
        self._kept: dict[tuple[int, int], RenderInputs] = {}
        self.made, self.seconds_to_make = 0, 0.0

    def read(self, number: int, row: int) -> RenderInputs:
        """Inputs of one frame: a row of `FitClip.frames` of the clip of that number."""
        inputs = self._kept.get((number, row))
        if inputs is None:
            started = time.monotonic()
            inputs = clip_inputs(self.prior, self.clips[number], torch.tensor([row])).narrowed().to(self.device)
            self.made, self.seconds_to_make = self.made + 1, self.seconds_to_make + time.monotonic() - started
            if len(self._kept) < KEPT_INPUTS:
                self._kept[number, row] = inputs
        return inputs

    def bank(self, number: int, row: int) -> Bank:
        """The bank to draw the same frame with."""
        clip = self.clips[number]
        return self.first.bank_for(number, float(clip.track.timestamps[clip.frames[row]]))


def clip_inputs(prior: RendererPrior, clip: FitClip, rows: torch.Tensor) -> RenderInputs:
    """What the renderer reads for rows [N] of a clip, at their own tracked motion."""
    crops = clip.crops[rows].float() / 255
    return render_inputs(prior.model, clip.track, clip.frames[rows], crops, prior.erasing_expressions)
