"""Which of an actor's frames make the bank, and how they are laid out over uv.

Wanted are few sharp frames that differ in all that mouths differ in: how open and how wide they are, how much of teeth
and of the dark behind them shows. The first is a sharp one near the middle, each next one the farthest from those that
are there already, sharp ones first (farthest-point sampling, weighted by sharpness).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from cuda_ext import ops
from prior.face.points import eye_distance, opening
from prior.renderer.unwrapping import unwrap
from render.drawing.look import BANK_FRAMES, Bank
from render.drawing.masks import LOWER_FACE_REGIONS, MOUTH_REGIONS, pick_faces
from render.drawing.renderer import pitch_and_yaw
from render.head.face_model import FaceModel
from render.head.track import Track

#: Luma beside that of the skin around the lips from which on the inside of a mouth counts as teeth; below as cavity.
TEETH_LUMA, CAVITY_LUMA = 0.75, 0.4
#: Turned by so much a frame is as far from another as by one standard deviation of opening, radians.
TURN_SPREAD = 0.2
#: Sharpness counts from this for the least sharp frame to 1 for the sharpest.
LEAST_SHARPNESS = 0.1
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


def spread_out(description: torch.Tensor, sharpness: torch.Tensor, count: int = BANK_FRAMES) -> torch.Tensor:
    """Choose frames that differ, sharp ones first.

    Args:
        description: [N, D], each column on one scale.
        sharpness: [N] any positive measure; its ranks count.
        count: how many, at most.

    Returns:
        Rows int64 [min(count, N)], in the order of their choice.
    """
    total = len(description)
    rank = sharpness.argsort().argsort().float() / max(total - 1, 1)
    sharp = LEAST_SHARPNESS + (1 - LEAST_SHARPNESS) * rank
    from_middle = (description - description.mean(0)).norm(dim=1)
    chosen = [int((sharp / (from_middle + 0.5)).argmax())]
    nearest = torch.full((total,), torch.inf)
    while len(chosen) < min(count, total):
        nearest = torch.minimum(nearest, (description - description[chosen[-1]]).norm(dim=1))
        worth = nearest * sharp
        worth[chosen] = -1
        chosen.append(int(worth.argmax()))
    return torch.tensor(chosen)


def describe_mouths(
    model: FaceModel, track: Track, frames: torch.Tensor, crops: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """What frames show of a mouth, for `spread_out`.

    Args:
        model: the face model.
        track: of the actor.
        frames: [N] int64 of it.
        crops: [N, 3, H, W] sRGB in [0, 1].

    Returns:
        Opening, width, teeth, cavity and yaw [N, 5], each in standard deviations of itself or, where it hardly varies,
        less; and sharpness [N], the mean difference of neighbouring pixels on the lower face.
    """
    shape = opening_and_width(model, track.lower_expression[frames])
    luma = F.interpolate(crops.mean(1, keepdim=True), size=(LOOK_PX, LOOK_PX), mode="area")[:, 0]
    fine = (crops[..., 1:, 1:] - crops[..., :-1, :-1]).abs().mean(1)
    inner, lower = model.faces_in("mouth_upper", "mouth_lower"), model.faces_in(*LOWER_FACE_REGIONS)
    lips = model.faces_in(*MOUTH_REGIONS)
    shown, sharpness = [], []
    for row, frame in enumerate(frames.tolist()):
        raster = ops.rasterize(track.clip_vertices(model, torch.tensor([frame])), model.faces, (LOOK_PX, LOOK_PX))
        inside, face, mouth = (pick_faces(chosen, raster.face_id)[0, 0] > 0 for chosen in (inner, lower, lips))
        skin = luma[row][face & ~mouth]
        usual = skin.median() if len(skin) else luma[row].median()
        there = luma[row][inside]
        shown.append([float((there > TEETH_LUMA * usual).sum()), float((there < CAVITY_LUMA * usual).sum())])
        where = F.interpolate(face[None, None].float(), size=fine.shape[-2:])[0, 0] > 0
        sharpness.append(fine[row][where].mean() if bool(where.any()) else fine[row].mean())
    areas = torch.tensor(shown) / LOOK_PX**2
    turn = pitch_and_yaw(track, frames)[:, 1:] / TURN_SPREAD
    description = torch.cat([shape, areas], 1)
    floor = torch.tensor([0.02, 0.02, 0.003, 0.003])
    return torch.cat([description / description.std(0).clamp(min=floor), turn], 1), torch.stack(sharpness)


def bank_frames(model: FaceModel, *parts: EnrollmentPart) -> tuple[BankFrames, list[tuple[int, int]]]:
    """Choose a bank's frames among all of an enrollment.

    Args:
        model: the face model.
        parts: the enrollment's clips.

    Returns:
        The frames of one person, `BANK_FRAMES` of them, the first repeated where there are fewer; and of each the
        number of its part and its row there.
    """
    described = [describe_mouths(model, *part) for part in parts]
    owner = [(number, row) for number, (_, frames, _) in enumerate(parts) for row in range(len(frames))]
    rows = spread_out(torch.cat([one for one, _ in described]), torch.cat([sharp for _, sharp in described]))
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
