import torch

from adapt.tracking.head_model import HeadFit, basis_jacobian, heads_of, pose_jacobian, project_heads
from adapt.tracking.head_solvers import normal_equations
from prior.face.model import load_face_model

FRAMES = 3


def seen_from(pose, shape, expression, fit):
    focal = torch.full((FRAMES,), 900.0, dtype=torch.float64)
    return project_heads(fit.moving, heads_of(fit.moving, shape, expression), pose, focal)


def test_jacobians_are_the_derivatives_of_the_projection():
    fit = HeadFit.of(load_face_model())
    generator = torch.Generator().manual_seed(0)
    shape, expression, pose = (
        torch.randn(*size, generator=generator, dtype=torch.float64)
        for size in ((len(fit.every.shape),), (FRAMES, len(fit.every.expression)), (FRAMES, 6))
    )
    pose = pose * 0.2 + torch.tensor([0.0, 0.0, 0.0, 0.0, 0.0, 4.5])
    projection, points = seen_from(pose, shape, expression, fit), fit.moving.expression
    for jacobian, image, values in (
        (pose_jacobian(projection, pose), lambda x: seen_from(x, shape, expression, fit).image, pose),
        (basis_jacobian(projection, points), lambda x: seen_from(pose, shape, x, fit).image, expression),
    ):
        step = torch.randn(values.shape, generator=generator, dtype=torch.float64)
        moved = torch.autograd.functional.jvp(image, values, step)[1]
        torch.testing.assert_close(torch.einsum("nvik,nk->nvi", jacobian, step), moved)


def test_normal_equations_are_those_of_the_weighted_sum():
    generator = torch.Generator().manual_seed(1)
    jacobian = torch.randn(FRAMES, 5, 2, 4, generator=generator, dtype=torch.float64)
    residual = torch.randn(FRAMES, 5, 2, generator=generator, dtype=torch.float64)
    weights = torch.rand(FRAMES, 5, generator=generator, dtype=torch.float64)
    weights[0, 2] = 0.0

    def energy(step):
        moved = residual + torch.einsum("nvik,nk->nvi", jacobian, step)
        return (weights * moved.square().sum(-1)).sum() / 2

    start = torch.zeros(FRAMES, 4, dtype=torch.float64)
    hessian, gradient = normal_equations(jacobian, residual, weights)
    torch.testing.assert_close(gradient, torch.autograd.functional.jacobian(energy, start))
    whole = torch.autograd.functional.hessian(energy, start)  # [N, 4, N, 4]
    for frame in range(FRAMES):
        torch.testing.assert_close(hessian[frame], whole[frame, :, frame])
