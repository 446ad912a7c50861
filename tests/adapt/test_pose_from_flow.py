import torch

from adapt.tracking.head_model import HeadFit, heads_of, project_heads
from adapt.tracking.pose_from_flow import carried_pose, pose_steps
from prior.face.model import load_face_model

TIMES = torch.arange(200, dtype=torch.float64) / 25


def poses(turn):
    """A head at 90 cm that nods and shakes by `turn` radians, [200, 6]."""
    result = torch.zeros(len(TIMES), 6, dtype=torch.float64)
    result[:, 0] = turn * torch.sin(6.28 * 0.4 * TIMES)
    result[:, 1] = turn * torch.sin(6.28 * 0.23 * TIMES)
    result[:, 5] = torch.tensor(90.0).log()
    return result


def test_steps_are_those_of_the_skin_even_if_a_third_of_it_goes_its_own_way():
    fit = HeadFit.of(load_face_model())
    truth, shape = poses(0.2), torch.zeros(fit.every.shape.shape[0], dtype=torch.float64)
    focal = torch.full((len(TIMES),), 1500.0, dtype=torch.float64)
    heads = heads_of(fit.rigid, shape, torch.zeros(1, len(fit.rigid.expression), dtype=torch.float64))
    image = project_heads(fit.rigid, heads.expand(len(TIMES), -1, -1), truth, focal).image
    generator = torch.Generator().manual_seed(0)
    flow = image.diff(dim=0) + 0.05 * torch.randn(image[1:].shape, generator=generator).double()
    flow[:, ::3] += 3.0
    flow[:, 1::9] = float("nan")
    read = 0.7 * truth[:, :3]  # as the detector does
    pose = torch.cat([read, truth[:, 3:]], -1)
    steps, trust = pose_steps(fit, flow, shape, torch.stack([pose[:-1], pose[1:]]), focal[1:])
    wanted = truth.diff(dim=0)
    assert float(trust.min()) == 1.0
    assert (steps - wanted)[:, :3].abs().mean() < 0.1 * wanted[:, :3].abs().mean()

    nothing = torch.full_like(flow, float("nan"))
    steps, trust = pose_steps(fit, nothing, shape, torch.stack([pose[:-1], pose[1:]]), focal[1:])
    assert float(trust.max()) == 0.0 and torch.isfinite(steps).all()


def test_carried_poses_move_as_the_skin_does_and_stay_with_the_detector():
    truth = poses(0.1)
    generator = torch.Generator().manual_seed(0)
    read = 0.7 * truth + 0.01 * torch.randn(truth.shape, generator=generator).double() + 0.05
    steps = torch.cat([torch.zeros(1, 6).double(), truth.diff(dim=0)])
    steps += 1e-4  # drift
    trust = torch.ones(len(TIMES), dtype=torch.float64)
    trust[0] = 0.0
    carried = carried_pose(read, steps, trust, TIMES)
    away = carried - truth
    assert (away.mean(0) - 0.05)[:2].abs().max() < 0.01
    assert away.diff(dim=0).std() < 0.1 * (read - truth).diff(dim=0).std()
    assert (carried - carried.mean(0))[:, 0].std() > 0.85 * truth[:, 0].std()


def test_what_is_not_trusted_changes_nothing():
    generator = torch.Generator().manual_seed(0)
    read = torch.randn(50, 6, generator=generator).double()
    steps = torch.randn(50, 6, generator=generator).double()
    assert torch.allclose(carried_pose(read, steps, torch.zeros(50).double(), TIMES[:50]), read)
    trust = torch.ones(50, dtype=torch.float64)
    trust[[0, 30]] = 0.0  # a cut: neither side knows of the other
    whole = carried_pose(read, steps, trust, TIMES[:50])
    halves = [
        carried_pose(read[part], steps[part], trust[part], TIMES[:50][part]) for part in (slice(30), slice(30, 50))
    ]
    assert torch.allclose(whole, torch.cat(halves))
