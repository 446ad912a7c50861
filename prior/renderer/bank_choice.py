"""Which of an actor's frames make the bank, and how they are laid out over uv.

Wanted are few sharp frames such that every mouth of the footage has one among them that is much alike, by the likeness
that the renderer has learnt to go by (medoids). What is rare in speech, as a mouth wide open is, is far from all else
and so gets one of its own. Half as sharp is as bad as half as likely.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from cuda_ext import ops
from prior.face.points import eye_distance, opening
from prior.renderer.unwrapping import unwrap
from render.drawing.look import BANK_FRAMES, Bank
from render.drawing.masks import LOWER_FACE_REGIONS, pick_faces
from render.drawing.renderer import Renderer, pitch_and_yaw
from render.head.face_model import FaceModel
from render.head.track import Track

#: Sharpness beside that of the usual frame from which on a frame counts as blurred as one can be.
BLURRED = 1e-3
LOOK_PX = 128
CORNERS = (61, 291)

#: One clip of an enrollment: its track, frames [N] int64 of it, and their crops [N, 3, H, W] sRGB in [0, 1].
EnrollmentPart = tuple[Track, torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class BankFrames:
    """The frames of which banks of P people are made.

    Attributes:
        crops: [P, K, 3, H, W] sRGB in [0, 1].
        clip_vertices: [P, K, V, 4].
        expression: [P, K, E]; turn: [P, K, 2].
    """

    crops: torch.Tensor
    clip_vertices: torch.Tensor
    expression: torch.Tensor
    turn: torch.Tensor


def bank_of(model: FaceModel, frames: BankFrames) -> Bank:
    """Lay frames out over uv."""
    people = len(frames.crops)
    with torch.no_grad():
        rgb, weight = unwrap(model, frames.clip_vertices.flatten(0, 1), frames.crops.flatten(0, 1))
    return Bank(rgb.unflatten(0, (people, -1)), weight.unflatten(0, (people, -1)), frames.expression, frames.turn)


def opening_and_width(model: FaceModel, lower_expression: torch.Tensor) -> torch.Tensor:
    """Opening and width [N, 2] of mouths of lower expressions [N, E], in eye distances."""
    vertices = model.vertices(torch.zeros(model.shape_basis.shape[0]), lower_expression)
    width = (vertices[:, CORNERS[0]] - vertices[:, CORNERS[1]]).norm(dim=-1) / eye_distance(vertices)
    return torch.stack([opening(vertices), width], 1)


def medoids(distance: torch.Tensor, count: int = BANK_FRAMES) -> torch.Tensor:
    """Choose candidates such that what is wanted has a near one among them.

    The first is the one nearest to all, each next one lowers the sum of distances to the nearest of them the most
    (greedy solution of the p-median problem; Cornuéjols, Fisher and Nemhauser 1977).

    Args:
        distance: [N, C] from each of N wanted to each of C candidates.
        count: how many, at most.

    Returns:
        Columns int64 [min(count, C)], in the order of their choice.
    """
    chosen: list[int] = []
    nearest = distance.new_full((len(distance), 1), torch.inf)
    while len(chosen) < min(count, distance.shape[1]):
        total = torch.minimum(nearest, distance).sum(0)
        total[chosen] = torch.inf
        chosen.append(int(total.argmin()))
        nearest = torch.minimum(nearest, distance[:, chosen[-1:]])
    return torch.tensor(chosen)


def sharpness_of(model: FaceModel, track: Track, frames: torch.Tensor, crops: torch.Tensor) -> torch.Tensor:
    """How sharp the lower face is in frames: mean difference of neighbouring pixels there, [N].

    Args:
        model: the face model.
        track: of the actor.
        frames: [N] int64 of it.
        crops: [N, 3, H, W] sRGB in [0, 1].
    """
    fine = (crops[..., 1:, 1:] - crops[..., :-1, :-1]).abs().mean(1)
    lower, sharpness = model.faces_in(*LOWER_FACE_REGIONS), []
    for row, frame in enumerate(frames.tolist()):
        raster = ops.rasterize(track.clip_vertices(model, torch.tensor([frame])), model.faces, (LOOK_PX, LOOK_PX))
        face = pick_faces(lower, raster.face_id)
        where = F.interpolate(face, size=fine.shape[-2:])[0, 0] > 0
        sharpness.append(fine[row][where].mean() if bool(where.any()) else fine[row].mean())
    return torch.stack(sharpness)


def bank_frames(
    model: FaceModel, renderer: Renderer, *parts: EnrollmentPart
) -> tuple[BankFrames, list[tuple[int, int]]]:
    """Choose a bank's frames among all of an enrollment.

    Args:
        model: the face model.
        renderer: whose measure of likeness counts.
        parts: the enrollment's clips.

    Returns:
        The frames of one person, `BANK_FRAMES` of them, the first repeated where there are fewer; and of each the
        number of its part and its row there.
    """
    owner = [(number, row) for number, (_, frames, _) in enumerate(parts) for row in range(len(frames))]
    expression = torch.cat([track.lower_expression[frames] for track, frames, _ in parts])
    turn = torch.cat([pitch_and_yaw(track, frames) for track, frames, _ in parts])
    sharp = torch.cat([sharpness_of(model, *part) for part in parts])
    with torch.no_grad():
        candidates = (each.expand(len(owner), -1, -1) for each in (expression, turn))
        distance = -renderer.bank.likeness(renderer.differences(expression, turn, *candidates))
    # Likeness is a logarithm of weights. Without this, frames are taken in which the mouth is blurred by its motion.
    rows = medoids(distance - (sharp / sharp.median().clamp(min=1e-6)).clamp(min=BLURRED).log())
    chosen = [owner[row] for row in rows.tolist()]
    chosen += chosen[:1] * (BANK_FRAMES - len(chosen))
    made = [
        (pictures[row], track.clip_vertices(model, frames[row : row + 1])[0], frames[row], track)
        for (track, frames, pictures), row in ((parts[number], row) for number, row in chosen)
    ]
    frames = BankFrames(
        torch.stack([crop for crop, *_ in made])[None],
        torch.stack([vertices for _, vertices, *_ in made])[None],
        torch.stack([track.lower_expression[frame] for *_, frame, track in made])[None],
        torch.cat([pitch_and_yaw(track, frame[None]) for *_, frame, track in made])[None],
    )
    return frames, chosen
