"""Clips as a fit reads them: crops in memory, and the network's inputs for single frames of them."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from prior.renderer.prior import RendererPrior
from render.drawing.renderer import RenderInputs, render_inputs
from render.head.track import Track

#: Inputs of so many frames are kept while learning; 2 MB each.
KEPT_INPUTS = 160


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


class FrameReader:
    """What the network and the loss read of single frames of clips, narrowed to what is seen; kept once made.

    Attributes:
        prior: renderer prior; not changed.
        clips: where the frames are from.
        device: where they are put.
        renderer: the prior's, laid out for speed, on `device`.
    """

    def __init__(self, prior: RendererPrior, clips: Sequence[FitClip], device: str = "cpu") -> None:
        self.prior, self.clips, self.device = prior, clips, torch.device(device)
        renderer = copy.deepcopy(prior.renderer).to(self.device)
        self.renderer = renderer.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._kept: dict[tuple[int, int], RenderInputs] = {}

    def read(self, number: int, row: int) -> RenderInputs:
        """Inputs of one frame: a row of `FitClip.frames` of the clip of that number."""
        inputs = self._kept.get((number, row))
        if inputs is None:
            inputs = clip_inputs(self.prior, self.clips[number], torch.tensor([row])).narrowed().to(self.device)
            if len(self._kept) < KEPT_INPUTS:
                self._kept[number, row] = inputs
        return inputs


def clip_inputs(prior: RendererPrior, clip: FitClip, rows: torch.Tensor) -> RenderInputs:
    """What the renderer reads for rows [N] of a clip, at their own tracked motion."""
    crops = clip.crops[rows].float() / 255
    return render_inputs(prior.model, clip.track, clip.frames[rows], crops, prior.erasing_expressions)
