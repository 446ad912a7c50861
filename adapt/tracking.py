"""From landmarks to a track: shape, focal, and per frame head pose and expression.

In: one person's detector landmarks in every frame of a video. Out: a `Track`. Gauss–Newton on batched float64 tensors
with closed-form Jacobians. Shape and focal come from a bounded number of chosen frames; head pose from points that the
jaw does not move; then expression with the pose held. Both run in overlapping windows of frames, tied in time by second
differences that give way to fast motion, so that closures stay closed.
"""

from dataclasses import dataclass

import torch

from adapt.crop import choose_crop_size, crop_from_path, crop_path, smooth_path
from adapt.smoothing import solve_tied
from prior.face_model import EYE_DISTANCE_CM, FACE_OVAL, LIP_PAIRS, LIPS_INNER, LIPS_OUTER, RIGID_POINTS, eye_distance
from render.camera import rotation_matrix, rotation_vector
from render.errors import TrackingError
from render.face_model import FaceModel
from render.track import Track

#: Frames from which shape and focal are found.
CHOSEN_FRAMES = 32
SHAPE_ROUNDS = 8
POSE_ROUNDS = 4
EXPRESSION_ROUNDS = 3
#: Frames solved together, of which `MARGIN` at either side only lend support.
WINDOW = 64
MARGIN = 16
#: Distance at which a face is taken to be where nothing says otherwise, cm, and how surely (log standard deviation).
FACE_DISTANCE_CM = 100.0
FOCAL_DEVIATION = 0.15
#: Detector noise of a point, share of the eye distance; points of a face err together, hence the divisor.
POINT_NOISE = 0.012
SHARED_NOISE = 12.0
#: Noise of the gap between a pair of lip points, share of the eye distance.
GAP_NOISE = 0.003
#: Second difference expected between frames: rotation (radians), place (share of eye distance), log of size.
POSE_BEND = (0.006, 0.004, 0.002)
POSE_ROBUST = 4.0
#: Second difference expected of expression coefficients.
EXPRESSION_BEND = 1.0
EXPRESSION_ROBUST = 2.0


@dataclass(frozen=True)
class Solver:
    """The face model as the solver wants it: float64, detector points only, with their weights.

    Attributes:
        mean: [V, 3]; shape: [S, V, 3]; expression: [E, V, 3] lower then upper; normal: [V, 3] outward at the mean.
        pose_weight, expression_weight: [V] of the points in either step.
        lower_count: how many of the expression axes are lower.
    """

    mean: torch.Tensor
    shape: torch.Tensor
    expression: torch.Tensor
    normal: torch.Tensor
    pose_weight: torch.Tensor
    expression_weight: torch.Tensor
    lower_count: int

    @staticmethod
    def of(model: FaceModel) -> "Solver":
        """Prepare a face model."""
        count = model.landmark_count
        mean = model.mean[:count].double()
        expression = torch.cat([model.lower_basis, model.upper_basis])[:, :count].double()
        skin = model.faces[(model.faces < count).all(1)].long()
        face_normal = torch.linalg.cross(mean[skin[:, 1]] - mean[skin[:, 0]], mean[skin[:, 2]] - mean[skin[:, 0]])
        normal = torch.zeros_like(mean)
        for corner in range(3):
            normal.index_add_(0, skin[:, corner], face_normal)
        pose_weight = torch.zeros(count, dtype=torch.float64)
        pose_weight[list(RIGID_POINTS)] = 1.0
        weight = torch.ones(count, dtype=torch.float64)
        weight[list(FACE_OVAL)] = 0.3
        weight[list(LIPS_OUTER)] = 4.0
        weight[list(LIPS_INNER)] = 6.0
        return Solver(
            mean,
            model.shape_basis[:, :count].double(),
            expression,
            normal / normal.norm(dim=-1, keepdim=True),
            pose_weight,
            weight,
            len(model.lower_basis),
        )


@dataclass(frozen=True)
class Observations:
    """What the detector saw of one person in frames with a face: points [N, V, 2] px from the image centre (float64),
    timestamps [N], eye distance [N] px (frontal), which sets each frame's noise.
    """

    points: torch.Tensor
    timestamps: torch.Tensor
    eye_distance_px: torch.Tensor

    def part(self, rows: slice | torch.Tensor) -> "Observations":
        """Some of the frames."""
        return Observations(self.points[rows], self.timestamps[rows], self.eye_distance_px[rows])


def translation_of(pose: torch.Tensor) -> torch.Tensor:
    """Translation [N, 3] cm from pose rows [N, 6] (rotation, x / z, y / z, log z)."""
    depth = pose[:, 5:].exp()
    return torch.cat([pose[:, 3:5] * depth, depth], -1)


def left_jacobian(rotation: torch.Tensor) -> torch.Tensor:
    """How a change of axis-angle [N, 3] turns space: [N, 3, 3] (Solà 2018, eq. 145)."""
    angle = rotation.norm(dim=-1).clamp(min=1e-6)[:, None, None]
    x, y, z = rotation.unbind(-1)
    zero = torch.zeros_like(x)
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(-1, 3, 3)
    identity = torch.eye(3, dtype=rotation.dtype)
    return identity + (1 - angle.cos()) / angle**2 * skew + (angle - angle.sin()) / angle**3 * skew @ skew


@dataclass(frozen=True)
class Projection:
    """Projected points [N, V, 2] px and what is needed to differentiate them."""

    image: torch.Tensor
    per_point: torch.Tensor  # [N, V, 2, 3] px per cm in camera space
    turned: torch.Tensor  # [N, V, 3] points turned into camera axes, about the head origin
    matrix: torch.Tensor  # [N, 3, 3] camera axes from head axes
    facing: torch.Tensor  # [N, V] cosine between the outward normal and the view


def project_heads(solver: Solver, heads: torch.Tensor, pose: torch.Tensor, focal: torch.Tensor) -> Projection:
    """Project head-space points [N, V, 3] at pose rows [N, 6] with focal [N] px; positions are from the image centre."""
    flip = torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64)
    matrix = rotation_matrix(pose[:, :3]) * flip
    turned = heads @ matrix.transpose(1, 2)
    camera = turned + translation_of(pose)[:, None]
    x, y, z = camera.unbind(-1)
    unit = (focal[:, None] / z)[..., None]
    image = camera[..., :2] * unit
    zero = torch.zeros_like(x)
    one = torch.ones_like(x)
    rows = [torch.stack([one, zero, -x / z], -1), torch.stack([zero, one, -y / z], -1)]
    view = camera / camera.norm(dim=-1, keepdim=True)
    facing = -((solver.normal @ matrix.transpose(1, 2)) * view).sum(-1)
    return Projection(image, torch.stack(rows, 2) * unit[..., None], turned, matrix, facing)


def pose_jacobian(projection: Projection, pose: torch.Tensor) -> torch.Tensor:
    """Derivative [N, V, 2, 6] of projected points by pose rows [N, 6]."""
    x, y, z = projection.turned.unbind(-1)
    zero = torch.zeros_like(x)
    # d(ω × p) = −[p]× dω
    minus_skew = torch.stack([zero, z, -y, -z, zero, x, y, -x, zero], -1).reshape(*x.shape, 3, 3)
    turn = projection.per_point @ (minus_skew @ left_jacobian(pose[:, :3])[:, None])
    depth = pose[:, 5].exp()[:, None, None, None]
    place = translation_of(pose)[:, None, :, None]
    return torch.cat([turn, projection.per_point[..., :2] * depth, projection.per_point @ place], -1)


def basis_jacobian(projection: Projection, basis: torch.Tensor) -> torch.Tensor:
    """Derivative [N, V, 2, K] of projected points by coefficients of basis [K, V, 3]."""
    per_head = projection.per_point @ projection.matrix[:, None]  # [N, V, 2, 3] px per cm in head space
    return torch.einsum("nvij,kvj->nvik", per_head, basis)


def point_weights(
    residual: torch.Tensor, facing: torch.Tensor, base: torch.Tensor, eye_distance_px: torch.Tensor
) -> torch.Tensor:
    """Weights [N, V] in 1/px² of residuals [N, V, 2]: noise, visibility, and Huber's robust factor."""
    noise = POINT_NOISE * eye_distance_px[:, None]
    visible = (facing * 2 + 0.5).clamp(0.05, 1.0)
    size = residual.norm(dim=-1) / noise
    robust = 2.0 / size.clamp(min=2.0)
    return base * visible * robust / (noise**2 * SHARED_NOISE)


def normal_equations(
    jacobian: torch.Tensor, residual: torch.Tensor, weights: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Hessian [N, K, K] and gradient [N, K] of Σ w |residual|², from [N, V, 2, K], [N, V, 2] and [N, V]."""
    count = len(jacobian)
    flat = jacobian.reshape(count, -1, jacobian.shape[-1])
    weighted = (jacobian * weights[..., None, None]).reshape(flat.shape).transpose(1, 2)
    return weighted @ flat, (weighted @ residual.reshape(count, -1, 1))[..., 0]


def gap_terms(
    residual: torch.Tensor, jacobian: torch.Tensor, facing: torch.Tensor, eye_distance_px: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Residuals, Jacobians and weights of the differences between lip pairs, from those of the points."""
    upper, lower = (list(side) for side in zip(*LIP_PAIRS, strict=True))
    visible = (facing[:, 13] * 2 + 0.5).clamp(0.05, 1.0)
    weight = visible / ((GAP_NOISE * eye_distance_px) ** 2 * len(LIP_PAIRS))
    return (
        residual[:, lower] - residual[:, upper],
        jacobian[:, lower] - jacobian[:, upper],
        weight[:, None].expand(-1, len(LIP_PAIRS)),
    )


def heads_of(solver: Solver, shape: torch.Tensor, expression: torch.Tensor) -> torch.Tensor:
    """Head-space points [N, V, 3] at shape [S] and expression [N, E]."""
    rest = solver.mean + torch.einsum("s,svk->vk", shape, solver.shape)
    return rest + torch.einsum("ne,evk->nvk", expression, solver.expression)


def first_pose(solver: Solver, points: torch.Tensor, focal: torch.Tensor) -> torch.Tensor:
    """Pose rows [N, 6] by weak perspective from detector points [N, V, 3] (px from the image centre, with depth)."""
    rows = list(RIGID_POINTS)
    flip = points.new_tensor([1.0, -1.0, -1.0])
    target = points[:, rows] * flip
    source = solver.mean[rows]
    source_centre, target_centre = source.mean(0), target.mean(1)
    a, b = source - source_centre, target - target_centre[:, None]
    u, s, vt = torch.linalg.svd(torch.einsum("nvi,vj->nij", b, a))
    sign = torch.ones_like(s)
    sign[:, 2] = torch.det(u @ vt)
    turn = u @ (sign[:, :, None] * vt)
    scale = (s * sign).sum(-1) / (a * a).sum()
    rotation = rotation_vector(flip[:, None] * turn * flip)
    origin = (target_centre - scale[:, None] * (turn @ source_centre)) * flip
    depth = focal / scale
    return torch.cat([rotation, origin[:, :2] / focal[:, None], depth.log()[:, None]], -1)


def choose_frames(points: torch.Tensor) -> torch.Tensor:
    """Rows of up to `CHOSEN_FRAMES` frames that differ most from each other (farthest first) and are well seen.

    Points [N, V, 2] px; the difference is that of the points, less place and size.
    """
    step = max(1, len(points) // 256)
    rows = torch.arange(0, len(points), step)
    form = points[rows]
    form = form - form.mean(1, keepdim=True)
    form = (form / form.norm(dim=(1, 2), keepdim=True)).flatten(1)
    usual = form.median(0).values
    away = (form - usual).norm(dim=-1)
    # The strangest twentieth is more likely a failure of the detector than a rare pose.
    candidate = away <= away.quantile(0.95)
    rows, form = rows[candidate], form[candidate]
    chosen = [int((form - usual).norm(dim=-1).argmin())]
    distance = (form - form[chosen[0]]).norm(dim=-1)
    while len(chosen) < min(CHOSEN_FRAMES, len(rows)):
        chosen.append(int(distance.argmax()))
        distance = torch.minimum(distance, (form - form[chosen[-1]]).norm(dim=-1))
    return rows[chosen].sort().values


def fit_shape(
    solver: Solver, seen: Observations, pose: torch.Tensor, focal: float
) -> tuple[torch.Tensor, float, torch.Tensor]:
    """Shape [S] and focal (px) from chosen frames, every frame's own pose and expression eliminated (Schur complement).

    Args:
        solver: the face model.
        seen: the chosen frames.
        pose: [N, 6] first poses.
        focal: px, the prior's.

    Returns:
        Shape, focal and the poses' median residual, share of the eye distance.
    """
    frames = len(pose)
    shapes, axes = len(solver.shape), len(solver.expression)
    shape = torch.zeros(shapes, dtype=torch.float64)
    expression = torch.zeros(frames, axes, dtype=torch.float64)
    log_focal = torch.tensor(focal, dtype=torch.float64).log()
    first = log_focal.clone()
    residual = seen.points
    for _ in range(SHAPE_ROUNDS):
        focals = log_focal.exp().expand(frames)
        projection = project_heads(solver, heads_of(solver, shape, expression), pose, focals)
        residual = projection.image - seen.points
        own = torch.cat([pose_jacobian(projection, pose), basis_jacobian(projection, solver.expression)], -1)
        shared = torch.cat([basis_jacobian(projection, solver.shape), projection.image[..., None]], -1)
        weights = point_weights(residual, projection.facing, solver.expression_weight, seen.eye_distance_px)
        size = own.shape[-1]
        hessian, gradient = normal_equations(torch.cat([own, shared], -1), residual, weights)
        hessian[:, range(6, size), range(6, size)] += 1.0
        gradient[:, 6:size] += expression
        h_own, h_mixed = hessian[:, :size, :size], hessian[:, :size, size:]
        solved = torch.linalg.solve(h_own, torch.cat([h_mixed, gradient[:, :size, None]], -1))
        reduced = (hessian[:, size:, size:] - h_mixed.transpose(1, 2) @ solved[..., :-1]).sum(0)
        right = (gradient[:, size:] - (h_mixed.transpose(1, 2) @ solved[..., -1:])[..., 0]).sum(0)
        # Points err together from frame to frame too: many frames must not drown the prior.
        share = min(1.0, 8.0 / frames)
        reduced, right = reduced * share, right * share
        prior = torch.cat([torch.ones(shapes, dtype=torch.float64), log_focal.new_tensor([FOCAL_DEVIATION**-2])])
        reduced = reduced + torch.diag(prior)
        right = right + prior * torch.cat([shape, (log_focal - first)[None]])
        step = -torch.linalg.solve(reduced, right)
        own_step = -(solved[..., -1] + (solved[..., :-1] @ step))
        shape = shape + step[:shapes]
        log_focal = log_focal + step[shapes].clamp(-0.2, 0.2)
        pose = pose + own_step[:, :6]
        expression = expression + own_step[:, 6:]
    return shape, float(log_focal.exp()), residual.norm(dim=-1).median(1).values / seen.eye_distance_px


def solve_pose(
    solver: Solver, seen: Observations, shape: torch.Tensor, focal: float, pose: torch.Tensor
) -> torch.Tensor:
    """Pose rows [N, 6] of one window from points that the jaw does not move, tied in time."""
    frames = len(pose)
    focals = torch.full((frames,), focal, dtype=torch.float64)
    heads = heads_of(solver, shape, torch.zeros(1, len(solver.expression), dtype=torch.float64))
    used = solver.pose_weight > 0
    part = Solver(
        solver.mean[used],
        solver.shape[:, used],
        solver.expression[:, used],
        solver.normal[used],
        solver.pose_weight[used],
        solver.expression_weight[used],
        solver.lower_count,
    )
    # Place in the image is x / z · focal: what is a share of the eye distance there is a share of 6.3 cm / distance here.
    place = POSE_BEND[1] * EYE_DISTANCE_CM / float(pose[:, 5].median().exp())
    bend = torch.tensor([POSE_BEND[0]] * 3 + [place] * 2 + [POSE_BEND[2]], dtype=torch.float64)
    ridge = torch.diag(torch.full((6,), 1e-3, dtype=torch.float64))
    for _ in range(POSE_ROUNDS):
        projection = project_heads(part, heads[:, used].expand(frames, -1, -1), pose, focals)
        residual = projection.image - seen.points[:, used]
        weights = point_weights(residual, projection.facing, part.pose_weight, seen.eye_distance_px)
        hessian, gradient = normal_equations(pose_jacobian(projection, pose), residual, weights)
        pose = pose + solve_tied(hessian + ridge, gradient, pose, seen.timestamps, bend**-2, POSE_ROBUST)
    return pose


def solve_expression(
    solver: Solver, seen: Observations, shape: torch.Tensor, focal: float, pose: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Expression [N, E] of one window with its poses held, and each frame's mean residual, share of the eye distance."""
    frames, axes = len(pose), len(solver.expression)
    focals = torch.full((frames,), focal, dtype=torch.float64)
    expression = torch.zeros(frames, axes, dtype=torch.float64)
    stiffness = torch.full((axes,), EXPRESSION_BEND**-2, dtype=torch.float64)
    prior = torch.eye(axes, dtype=torch.float64)
    for _ in range(EXPRESSION_ROUNDS):
        projection = project_heads(solver, heads_of(solver, shape, expression), pose, focals)
        residual = projection.image - seen.points
        jacobian = basis_jacobian(projection, solver.expression)
        weights = point_weights(residual, projection.facing, solver.expression_weight, seen.eye_distance_px)
        hessian, gradient = normal_equations(jacobian, residual, weights)
        lip_hessian, lip_gradient = normal_equations(
            *(lambda r, j, w: (j, r, w))(*gap_terms(residual, jacobian, projection.facing, seen.eye_distance_px))
        )
        expression = expression + solve_tied(
            hessian + lip_hessian + prior,
            gradient + lip_gradient + expression,
            expression,
            seen.timestamps,
            stiffness,
            EXPRESSION_ROBUST,
        )
    image = project_heads(solver, heads_of(solver, shape, expression), pose, focals).image
    return expression, (image - seen.points).norm(dim=-1).mean(-1) / seen.eye_distance_px


def windows(count: int) -> list[tuple[slice, slice, slice]]:
    """Overlapping windows over `count` frames: (frames solved, frames kept, place of the kept ones in the window)."""
    result = []
    for start in range(0, count, WINDOW):
        stop = min(start + WINDOW, count)
        if count - stop < MARGIN:
            stop = count  # a short rest joins the last window
        low, high = max(0, start - MARGIN), min(count, stop + MARGIN)
        result.append((slice(low, high), slice(start, stop), slice(start - low, stop - low)))
        if stop == count:
            break
    return result


@dataclass(frozen=True)
class ShotMotion:
    """Motion of one shot's frames with a face: pose [N, 6], expression [N, E], residual [N] (share of eye distance)."""

    focal: float
    pose: torch.Tensor
    expression: torch.Tensor
    residual: torch.Tensor


def track_shot(
    solver: Solver, points: torch.Tensor, timestamps: torch.Tensor, shape: torch.Tensor, focal: float
) -> ShotMotion:
    """Track one shot's frames with a face at known shape and focal.

    Args:
        solver: the face model.
        points: [N, V, 3] float64, px from the image centre, with the detector's depth.
        timestamps: [N] seconds.
        shape: [S].
        focal: px.
    """
    pose, expression, residual = [], [], []
    for solved, _, place in windows(len(points)):
        part = points[solved]
        start = first_pose(solver, part, torch.full((len(part),), focal, dtype=torch.float64))
        start = torch.cat([unwrapped(start[:, :3]), start[:, 3:]], -1)
        seen = Observations(part[..., :2], timestamps[solved], EYE_DISTANCE_CM * focal / start[:, 5].exp())
        found = solve_pose(solver, seen, shape, focal, start)
        moved, error = solve_expression(solver, seen, shape, focal, found)
        pose.append(found[place])
        expression.append(moved[place])
        residual.append(error[place])
    return ShotMotion(focal, torch.cat(pose), torch.cat(expression), torch.cat(residual))


def unwrapped(rotation: torch.Tensor) -> torch.Tensor:
    """The same axis-angles [N, 3]; kept as they are, since a face seen by the detector is never turned by π."""
    return rotation


def track_landmarks(
    model: FaceModel,
    landmarks: torch.Tensor,
    found: torch.Tensor,
    timestamps: torch.Tensor,
    shot: torch.Tensor,
    size: tuple[int, int],
    source: dict[str, object],
) -> Track:
    """Track one person through a video.

    Args:
        model: the face model.
        landmarks: [T, ≥ 468, 3] px and relative depth; rows without a face may hold anything.
        found: [T] in [0, 1], the detector's confidence, 0 where there is no face.
        timestamps: [T] float64 seconds.
        shot: [T] int32.
        size: width and height, px.
        source: facts that the track is to carry.

    Raises:
        TrackingError: the person is in too few frames.
    """
    solver = Solver.of(model)
    count = model.landmark_count
    rows = (found > 0).nonzero()[:, 0]
    if len(rows) < 2:
        name = source.get("file", "footage")
        raise TrackingError(f"{name}: the person is in {len(rows)} of {len(found)} frames; need 2 (see `adapt check`)")
    width, height = size
    centre = torch.tensor([width / 2, height / 2, 0.0], dtype=torch.float64)
    chosen = rows[choose_frames(landmarks[rows, :count, :2].double())]
    points = landmarks[chosen, :count].double() - centre
    pixels_per_cm = float(
        (first_pose(solver, points, torch.ones(len(points), dtype=torch.float64))[:, 5]).neg().exp().median()
    )
    focal = max(1.2 * max(width, height), FACE_DISTANCE_CM * pixels_per_cm)
    start = first_pose(solver, points, torch.full((len(points),), focal, dtype=torch.float64))
    seen = Observations(points[..., :2], timestamps[chosen], EYE_DISTANCE_CM * focal / start[:, 5].exp())
    shape, focal, _ = fit_shape(solver, seen, start, focal)

    pose = torch.zeros(len(found), 6, dtype=torch.float64)
    expression = torch.zeros(len(found), len(solver.expression), dtype=torch.float64)
    residual = torch.full((len(found),), float("nan"), dtype=torch.float64)
    for number in shot[rows].unique():
        own = rows[shot[rows] == number]
        motion = track_shot(solver, landmarks[own, :count].double() - centre, timestamps[own], shape, focal)
        pose[own], expression[own], residual[own] = motion.pose, motion.expression, motion.residual
    nearest = nearest_found(rows, shot)
    pose, expression = pose[nearest], expression[nearest]
    confidence = confidence_of(found.double(), residual, pose)
    translation = translation_of(pose)
    focals = torch.full((len(found),), focal, dtype=torch.float64)
    path = crop_path(model, shape, (pose[:, :3], translation), focals, (width / 2, height / 2))
    path = smooth_path(path, timestamps, shot)
    crop_size = choose_crop_size(path, confidence)
    return Track(
        width=width,
        height=height,
        timestamps=timestamps,
        shot=shot,
        confidence=confidence.float(),
        shape=shape.float(),
        focal_px=focals.float(),
        rotation=pose[:, :3].float(),
        translation=translation.float(),
        lower_expression=expression[:, : solver.lower_count].float(),
        upper_expression=expression[:, solver.lower_count :].float(),
        crop_from_image=crop_from_path(path, crop_size),
        crop_size=crop_size,
        source=source,
    )


def nearest_found(rows: torch.Tensor, shot: torch.Tensor) -> torch.Tensor:
    """For every frame the nearest of `rows`, of the same shot where it has any: int64 [T]."""
    every = torch.arange(len(shot))
    distance = (every[:, None] - rows[None]).abs() + len(shot) * (shot[:, None] != shot[rows][None])
    return rows[distance.argmin(1)]


def confidence_of(found: torch.Tensor, residual: torch.Tensor, pose: torch.Tensor) -> torch.Tensor:
    """Confidence [T]: the detector's, less where the mesh does not fit the points or the head is turned away."""
    matrix = rotation_matrix(pose[:, :3])
    facing = matrix[:, 2, 2]  # cosine between the head's outward axis and the camera's
    turned = ((facing - 0.2) / 0.5).clamp(0, 1)
    fits = torch.exp(-((residual.nan_to_num(1.0) / 0.04) ** 2))
    return torch.where(found > 0, (found * turned * fits).clamp(min=0.01), torch.zeros_like(found))


def fitted_points(model: FaceModel, track: Track, frames: torch.Tensor) -> torch.Tensor:
    """The track's landmarks [N, V, 2] in px of the image, in the detector's order."""
    return track.image_vertices(model, frames)[:, : model.landmark_count]
