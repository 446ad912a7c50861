"""Learn the face model from detector landmarks of many people: `python -m prior.training.face_model CACHE [-o FILE]`.

In: `CACHE/*/landmarks.safetensors`. Out: `prior/weights/face_model.safetensors`. Every person weighs the same however
long the footage; everything is mirrored, so that the model is left/right symmetric. A person's frames are aligned by
points that neither jaw nor brows move; the rest form is what remains when the part that goes with the lip gap is
taken off; shape axes are principal over people, expression axes over frames, lower and upper face apart.
"""

import argparse
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import torch

from prior.cache.landmarks import load_all
from prior.face.model import WEIGHTS
from prior.face.points import (
    CHIN,
    EYE_CORNERS,
    EYE_DISTANCE_CM,
    EYELIDS,
    LIPS_INNER,
    LIPS_OUTER,
    RIGID_POINTS,
    eye_distance,
    lip_gap,
)
from prior.training.head_mesh import extend_expression, extend_shape, head_mesh, mirror_index
from prior.training.run import one_line_errors
from render.head.face_model import FaceModel

SHAPE_AXES = 40
LOWER_AXES = 16
UPPER_AXES = 8
FRAMES_PER_PERSON = 160
#: Frames turned or tilted further do not teach: the far half of the face is guessed there.
LARGEST_TURN = 0.6
SEED = 0


def align(points: torch.Tensor, reference: torch.Tensor, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Least-squares similarity of points [N, V, 3] onto reference [V, 3] or [N, V, 3] with weights [V] (Umeyama 1991).

    Returns:
        Aligned points [N, V, 3] and the rotations [N, 3, 3] that were applied.
    """
    weights = weights / weights.sum()
    reference = reference.expand_as(points)
    centre = (points * weights[:, None]).sum(1, keepdim=True)
    target_centre = (reference * weights[:, None]).sum(1, keepdim=True)
    source, target = points - centre, reference - target_centre
    u, s, vt = torch.linalg.svd(torch.einsum("nvi,v,nvj->nij", target, weights, source))
    sign = torch.ones_like(s)
    sign[:, 2] = torch.det(u @ vt)
    rotation = u @ (sign[:, :, None] * vt)
    scale = (s * sign).sum(-1) / torch.einsum("nvi,v,nvi->n", source, weights, source)
    return scale[:, None, None] * source @ rotation.transpose(1, 2) + target_centre, rotation


def rigid_weights(count: int, dtype: torch.dtype) -> torch.Tensor:
    """Weights [V] of the alignment: 1 at points that expression does not move, 0 elsewhere."""
    weights = torch.zeros(count, dtype=dtype)
    weights[list(RIGID_POINTS)] = 1
    return weights


def read_people(cache: Path) -> list[torch.Tensor]:
    """Landmarks of each person: [N, 468, 3], N up to `FRAMES_PER_PERSON`, x right, y up, z out, eye distance 6.3."""
    generator = torch.Generator().manual_seed(SEED)
    people: dict[str, list[torch.Tensor]] = defaultdict(list)
    for clip in load_all(cache):
        landmarks = clip.points[clip.confidence > 0].double()
        people[clip.person].append(landmarks * torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64))
    result = []
    for name in sorted(people):
        points = torch.cat(people[name])
        if len(points) > FRAMES_PER_PERSON:
            points = points[torch.randperm(len(points), generator=generator)[:FRAMES_PER_PERSON].sort().values]
        if len(points) >= 10:
            result.append(points * (EYE_DISTANCE_CM / eye_distance(points).clamp(min=1.0))[:, None, None])
    return result


def align_people(people: list[torch.Tensor]) -> tuple[list[torch.Tensor], torch.Tensor]:
    """All people's frames in one head space, strongly turned ones left out; and the mean [V, 3], symmetric, scaled."""
    weights = rigid_weights(people[0].shape[1], torch.float64)
    mean = torch.stack([person.median(0).values for person in people]).median(0).values
    # The first reference has nobody's pose in particular: it is made symmetric and upright before use.
    for _ in range(6):
        aligned, turns = zip(*(align(person, mean, weights) for person in people), strict=True)
        mean = upright(torch.stack([person.median(0).values for person in aligned]).mean(0))
    kept = []
    for person, turn in zip(aligned, turns, strict=True):
        frontal = torch.arccos(turn[:, 2, 2].clamp(-1, 1)) < LARGEST_TURN
        if frontal.sum() >= 10:
            kept.append(person[frontal])
    return kept, mean


def upright(mean: torch.Tensor) -> torch.Tensor:
    """Centre on the eyes' middle, symmetrise, level the line from eye corners to chin's depth, scale to 6.3 cm."""
    (a, b), (c, d) = EYE_CORNERS
    mean = mean - mean[[a, b, c, d]].mean(0)
    for _ in range(3):
        # Half of the turn to its own mirror image makes a crooked mean straight.
        mirror = mirror_index(mean)
        flipped = mean[mirror] * mean.new_tensor([-1.0, 1.0, 1.0])
        mean = (mean + align(flipped[None], mean, torch.ones_like(mean[:, 0]))[0][0]) / 2
        mean = mean - mean[[a, b, c, d]].mean(0)
    across = mean[[c, d]].mean(0) - mean[[a, b]].mean(0)
    # Frontal is where forehead and chin are equally far out, as in a portrait.
    down = mean[CHIN] - mean[10]
    x = across / across.norm()
    y = -(down - (down @ x) * x)
    y = y / y.norm()
    frame = torch.stack([x, y, torch.linalg.cross(x, y)])
    return mean @ frame.T * (EYE_DISTANCE_CM / eye_distance(mean))


@dataclass(frozen=True)
class LearntBases:
    """What the people teach, on the 468 points: mean [V, 3] and bases [K, V, 3]."""

    mean: torch.Tensor
    shape_basis: torch.Tensor
    lower_basis: torch.Tensor
    upper_basis: torch.Tensor


def smoothstep(value: torch.Tensor, low: float, high: float) -> torch.Tensor:
    """0 below `low`, 1 above `high`, smooth between."""
    t = ((value - low) / (high - low)).clamp(0, 1)
    return t * t * (3 - 2 * t)


def expression_masks(mean: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """How much lower and upper expression may move each point: two [V] in [0, 1]."""
    x, y = mean[:, 0].abs(), mean[:, 1]
    nose_base = float(mean[2, 1])
    side = smoothstep(x, 1.0, 2.6)
    lower = smoothstep(-y, -nose_base - 1.4 - 1.2 * 1.0, -nose_base - 0.1) * side + smoothstep(
        -y, -nose_base - 1.0, -nose_base + 0.1
    ) * (1 - side)
    upper = smoothstep(y, -2.6, -1.2) * smoothstep(x, 0.4, 1.4)
    upper = torch.maximum(upper, smoothstep(y, 1.0, 2.2))
    upper[list(RIGID_POINTS)] *= 0.1  # eye corners and temples stay with the skull
    return lower, upper


def principal(samples: torch.Tensor, person_of: torch.Tensor, metric: torch.Tensor, count: int) -> torch.Tensor:
    """Principal axes [count, V, 3] of samples [N, V, 3], people weighing the same, largest first, unit coefficients.

    `metric` [V] says how much a point's error counts when axes are chosen.
    """
    share = 1 / torch.bincount(person_of).to(samples.dtype)[person_of]
    share = share / share.sum()
    root = (samples * metric[:, None].sqrt()).flatten(1)
    covariance = (root * share[:, None]).T @ root
    values, vectors = torch.linalg.eigh(covariance)
    axes = vectors[:, -count:].flip(-1)
    scores = root @ axes / values[-count:].flip(-1).sqrt()
    # Regressing on the scores gives every point, also those that the metric leaves out, its share of each axis.
    return torch.einsum("nk,n,nvc->kvc", scores, share, samples)


def project_out(samples: torch.Tensor, axis: torch.Tensor, metric: torch.Tensor) -> torch.Tensor:
    """Samples [N, V, 3] without their component along axis [V, 3] in the metric [V]."""
    score = torch.einsum("nvc,v,vc->n", samples, metric, axis) / torch.einsum("vc,v,vc->", axis, metric, axis)
    return samples - score[:, None, None] * axis


def rest_forms(people: list[torch.Tensor], slope: torch.Tensor) -> torch.Tensor:
    """Each person's face with closed lips, [P, V, 3]: frames less their lip gap times `slope` [V, 3], median."""
    return torch.stack([(p - lip_gap(p)[:, None, None] * slope).median(0).values for p in people])


def gap_slope(people: list[torch.Tensor], mirror: torch.Tensor) -> torch.Tensor:
    """Mean displacement [V, 3] per cm of lip gap within people, symmetric."""
    top = torch.zeros(people[0].shape[1:], dtype=people[0].dtype)
    bottom = torch.zeros((), dtype=top.dtype)
    for person in people:
        gap = lip_gap(person)
        gap = gap - gap.mean()
        # Long still clips say little; a person's say is bounded, so that one laugh does not rule.
        weight = 1 / (len(person) * (0.02 + gap.var()))
        top = top + weight * torch.einsum("n,nvc->vc", gap, person - person.mean(0))
        bottom = bottom + weight * (gap * gap).sum()
    slope = top / bottom
    return (slope + mirrored(slope[None], mirror)[0]) / 2


def mirrored(samples: torch.Tensor, mirror: torch.Tensor) -> torch.Tensor:
    """Samples [N, V, 3] as seen in a mirror."""
    return samples[:, mirror] * samples.new_tensor([-1.0, 1.0, 1.0])


def learn(people: list[torch.Tensor]) -> LearntBases:
    """Mean and bases on the detector's points from people's frames (list of [N, 468, 3])."""
    aligned, mean = align_people(people)
    mirror = mirror_index(mean)
    weights = rigid_weights(len(mean), mean.dtype)
    slope = torch.zeros_like(mean)
    for _ in range(3):
        rest = rest_forms(aligned, slope)
        aligned = [align(p, r, weights)[0] for p, r in zip(aligned, rest, strict=True)]
        slope = gap_slope(aligned, mirror)
    rest = rest_forms(aligned, slope)
    both = torch.cat([rest, mirrored(rest, mirror)])
    mean = both.mean(0)
    every = torch.arange(len(both))
    shape_metric = torch.ones_like(mean[:, 0])
    shape_metric[list(LIPS_OUTER + LIPS_INNER)] = 4
    shape_basis = principal(both - mean, every, shape_metric, SHAPE_AXES)

    lower_mask, upper_mask = expression_masks(mean)
    moved = torch.cat([p - r for p, r in zip(aligned, rest, strict=True)])
    owner = torch.cat([torch.full((len(p),), i) for i, p in enumerate(aligned)])
    moved, owner = torch.cat([moved, mirrored(moved, mirror)]), torch.cat([owner, owner])
    return LearntBases(
        mean,
        shape_basis,
        lower_basis(moved * lower_mask[:, None], owner, slope * lower_mask[:, None], lower_mask),
        principal(moved * upper_mask[:, None], owner, upper_metric(upper_mask), UPPER_AXES),
    )


def upper_metric(mask: torch.Tensor) -> torch.Tensor:
    """Eyelids count most among the upper points: they move little and are seen."""
    metric = mask.clone()
    for upper, lower in EYELIDS:
        metric[list(upper + lower)] = 4
    return metric


def lower_basis(moved: torch.Tensor, owner: torch.Tensor, slope: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Lower axes [E, V, 3]: the jaw opening, then principal axes of what it leaves."""
    metric = 0.5 * mask
    metric[list(LIPS_OUTER)] = 4
    metric[list(LIPS_INNER)] = 8
    share = 1 / torch.bincount(owner).to(moved.dtype)[owner]
    jaw_score = torch.einsum("nvc,v,vc->n", moved, metric, slope) / torch.einsum("vc,v,vc->", slope, metric, slope)
    jaw = slope * ((jaw_score**2 * share).sum() / share.sum()).sqrt()
    rest = principal(project_out(moved, slope, metric), owner, metric, LOWER_AXES - 1)
    return torch.cat([jaw[None], rest])


def build(people: list[torch.Tensor]) -> FaceModel:
    """The complete model from people's landmarks (list of [N, 468, 3], x right, y up, z out)."""
    learnt = learn(people)
    mesh = head_mesh(learnt.mean)
    shape_basis = extend_shape(learnt.shape_basis, mesh)
    lower = extend_expression(learnt.lower_basis, mesh)
    upper = extend_expression(learnt.upper_basis, mesh)
    spread = (lower.square().sum((0, 2)) + upper.square().sum((0, 2))).sqrt()  # [V] cm
    return FaceModel(
        mean=mesh.vertices.float(),
        shape_basis=shape_basis.float(),
        lower_basis=lower.float(),
        upper_basis=upper.float(),
        faces=mesh.faces.int(),
        uv=mesh.uv.float(),
        face_region=mesh.face_region.to(torch.uint8),
        rigid_weight=(0.05 / (0.05 + spread)).float(),
        landmark_count=len(learnt.mean),
    )


def main() -> None:
    """Command line of the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cache", type=Path, help="folder written by `adapt prepare --stage landmarks`")
    parser.add_argument("-o", "--out", type=Path, default=WEIGHTS)
    given = parser.parse_args()
    with one_line_errors("prior.training.face_model"):
        people = read_people(given.cache)
    build(people).save(given.out)
    print(f"{given.out}: {len(people)} people, {sum(map(len, people))} frames")


if __name__ == "__main__":
    main()
