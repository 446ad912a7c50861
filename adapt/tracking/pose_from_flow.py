"""Head poses from the detector, mended by how the skin of the upper face is seen to move.

In: poses fitted to each frame's landmarks, and the skin's motion from frame to frame. Out: poses that move as the skin
does, and lie where the detector puts them in the mean over a second or two. The detector reads turns too small, stirs
with the jaw and jitters; flow does neither, but its errors add up. Letters as in `head_model`.
"""

import torch

from adapt.tracking.head_model import HeadFit, heads_of, pose_jacobian, project_heads
from adapt.tracking.head_solvers import POSE_ROBUST, normal_equations, pose_bend
from adapt.tracking.smoothing import solve_chain, solve_tied
from prior.face.points import EYE_DISTANCE_CM

STEP_ROUNDS = 4
#: Error of the flow of a point: share of the eye distance, and px.
FLOW_NOISE = 0.0015
FLOW_NOISE_PX = 0.03
#: Errors beyond this many noises count less and less (Geman–McClure).
FLOW_ROBUST = 3.0
#: Shares of the points that must agree on a step: below the first it is not trusted, from the second on fully.
AGREEING = (0.25, 0.5)
#: Over about this long (either way) the detector's poses are averaged.
ANCHOR_SECONDS = 0.7
#: How strongly what is left of jitter is smoothed (the expected second difference counts this much beside an equal
#: error of pose). More looks steadier in numbers, but slides over the skin: heads do jolt.
STEADINESS = 0.5
STEADY_ROUNDS = 3


def pose_steps(
    fit: HeadFit, flow: torch.Tensor, shape: torch.Tensor, pose: torch.Tensor, focal: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """How each frame's pose differs from that of the frame before: steps [N, 6] of pose rows, and trust [N] in [0, 1].

    Args:
        fit: the face model.
        flow: [N, K, 2] px, of the rigid points, NaN where not known.
        shape: [S].
        pose: [2, N, 6] of the frame before and of this, from the detector.
        focal: [N] px.
    """
    has_flow = torch.isfinite(flow).all(-1).double()
    before, after = pose
    heads = heads_of(fit.rigid, shape, torch.zeros(1, len(fit.rigid.expression), dtype=torch.float64))
    heads = heads.expand(len(flow), -1, -1)
    wanted = project_heads(fit.rigid, heads, before, focal).image + flow.double().nan_to_num(0.0)
    noise = (FLOW_NOISE * EYE_DISTANCE_CM * focal / before[:, 5].exp() + FLOW_NOISE_PX)[:, None]
    ridge = 1e-3 * torch.eye(6, dtype=torch.float64)
    for _ in range(STEP_ROUNDS):
        projection = project_heads(fit.rigid, heads, after, focal)
        residual = projection.image - wanted
        error = residual.norm(dim=-1) / noise
        weights = has_flow * projection.visible * (1 + (error / FLOW_ROBUST) ** 2) ** -2 / noise**2
        hessian, gradient = normal_equations(pose_jacobian(projection, after), residual, weights)
        after = after - torch.linalg.solve(hessian + ridge, gradient)
    low, high = AGREEING
    agreeing = (has_flow * (error < FLOW_ROBUST)).mean(-1)
    return after - before, ((agreeing - low) / (high - low)).clamp(0, 1)


def carried_pose(
    pose: torch.Tensor, steps: torch.Tensor, trust: torch.Tensor, timestamps: torch.Tensor
) -> torch.Tensor:
    """Poses x [N, 6] that minimise Σ |x_t − pose_t|² + Σ k_t |x_t − x_{t−1} − step_t|², frames in order of time.

    Args:
        pose: [N, 6] from the detector.
        steps: [N, 6] by flow.
        trust: [N] in the steps; 0 at a cut and after a gap.
        timestamps: [N] seconds.
    """
    tie = trust[1:] * (ANCHOR_SECONDS / timestamps.diff().clamp(min=1e-3)) ** 2
    chain = steps.cumsum(0)
    return chain + solve_chain(tie, pose - chain)


def steady_pose(pose: torch.Tensor, timestamps: torch.Tensor) -> torch.Tensor:
    """Poses [N, 6] of one window less the jitter that is left; `timestamps` [N] seconds."""
    weight = pose_bend(pose) ** -2
    result = pose
    for _ in range(STEADY_ROUNDS):
        gradient = (result - pose) * weight
        hessian = torch.diag(weight).expand(len(pose), 6, 6)
        result = result + solve_tied(hessian, gradient, result, timestamps, STEADINESS * weight, POSE_ROBUST)
    return result
