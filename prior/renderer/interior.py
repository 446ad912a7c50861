"""Interior: how much of what lies between drawn lips an actor's own frames show, and where; the rest is guessed.

In: the bank of an actor, a track, and lower expressions to be drawn. Out: a share a frame, or a map over a crop. A
pixel counts as far as a frame of the bank sees the place with a mouth that is alike. How fast interiors of one person
become unlike was measured on people that the prior was learnt from, as the covariance of pairs of their frames; a
Gaussian process with that covariance has the same as its explained variance where one frame alone counts.
"""

from dataclasses import dataclass

import torch

from cuda_ext import ops
from render.drawing.look import Bank
from render.drawing.masks import pick_faces
from render.drawing.renderer import Renderer, pitch_and_yaw
from render.head.face_model import FaceModel
from render.head.track import Track

#: Variance over which mouths become unlike, in squared standard deviations of expression and turn.
ALIKE_VARIANCE = 10.0
#: A texel that a frame of the bank shows by less does not count: it borders on the lips.
LEAST_SHOWN = 0.08
#: Side of the crops in which shares are counted; fewer px between the lips are nothing.
COUNT_PX, FEWEST_PX = 128, 15


@dataclass(frozen=True)
class Interior:
    """What one actor's bank shows of mouths.

    Attributes:
        model: the face model.
        renderer: whose measure of likeness counts.
        bank: of one actor.
    """

    model: FaceModel
    renderer: Renderer
    bank: Bank

    def alike(self, track: Track, frame: int, expression: torch.Tensor) -> torch.Tensor:
        """How alike each frame of the bank is to a mouth at the head pose of a frame of a track, [K] in [0, 1].

        Args:
            track: of the shot.
            frame: of it.
            expression: [E] lower expression to be drawn.
        """
        turn = pitch_and_yaw(track, torch.tensor([frame]))
        far = self.renderer.differences(expression[None], turn, self.bank.expression, self.bank.turn)[0]  # [K, axes]
        return torch.exp(-far.square().sum(-1) / (2 * ALIKE_VARIANCE))

    def map(
        self, track: Track, frame: int, expression: torch.Tensor, size: int = COUNT_PX
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Which pixels of a crop lie between the lips, and how far each was seen; arguments as of `alike`.

        Returns:
            Bool [size, size], and float32 [size, size] in [0, 1], 0 where the first is False.
        """
        vertices = track.clip_vertices(self.model, torch.tensor([frame]), expression[None])
        raster = ops.rasterize(vertices, self.model.faces, (size, size))
        inside = pick_faces(self.model.faces_in("mouth_upper", "mouth_lower"), raster.face_id)[0, 0] > 0
        uv = ops.interpolate(self.model.uv, raster, self.model.faces)[0][inside]  # [N, 2]
        seen = self.bank.seen[0, :, 0]  # [K, H', W']
        column, row = (uv * seen.shape[-1]).long().clamp(0, seen.shape[-1] - 1).unbind(-1)
        shown = (seen[:, row, column] > LEAST_SHOWN) * self.alike(track, frame, expression)[:, None]
        return inside, torch.zeros(size, size).masked_scatter(inside, shown.amax(0))

    def shares(self, track: Track, expression: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
        """Share of the interior that was seen in each frame [N] in [0, 1]; NaN where nothing lies between the lips.

        Args:
            track: of the shot.
            expression: [T, E] lower expression to be drawn, a row for every frame of the track.
            frames: [N] int64 of it.
        """
        shares = torch.full((len(frames),), torch.nan)
        for place, frame in enumerate(frames.tolist()):
            inside, shown = self.map(track, frame, expression[frame])
            if int(inside.sum()) >= FEWEST_PX:
                shares[place] = shown[inside].mean()
        return shares
