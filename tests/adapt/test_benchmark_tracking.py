import pytest
import torch

from adapt.benchmarks.tracking import score, score_against_truth, sliding, still_stretches, summarise
from prior.cache.landmarks import Landmarks
from prior.face.model import load_face_model
from prior.face.points import RIGID_POINTS
from tests.heads import SIZE, head


@pytest.fixture(scope="module")
def clip():
    """A head seen with noise of 1 px where the eyes are 105 px apart, whose skin is followed to a tenth of that."""
    clean, times, _ = head(150, seed=7, jaw=1.2, leak=(0.0, 0.0, 0.0))
    generator = torch.Generator().manual_seed(0)
    points = clean + torch.randn(clean.shape, generator=generator)
    rigid = clean[:, list(RIGID_POINTS), :2]
    flow = torch.full_like(rigid, float("nan"))
    flow[1:] = rigid.diff(dim=0) + 0.1 * torch.randn(rigid[1:].shape, generator=generator)
    shot = torch.zeros(len(points), dtype=torch.int32)
    return Landmarks(*SIZE, times, shot, points.float(), flow.float(), torch.ones(len(points)), "head", {})


def test_a_track_that_follows_the_skin_hardly_slides_over_it(clip):
    result = score(load_face_model(), clip)
    assert result["frames"] == 150
    assert result["error"] < 0.02 and result["gap_correlation"] > 0.97 and result["closure_error"] < 0.01
    assert result["slide"] < 0.3 * result["detector_slide"] and result["shake_ratio"] < 0.3
    assert abs(result["jaw_in_fast_pitch"]) < 0.2
    table = "\n".join(summarise([result, result]))
    assert f"{result['error']:.4f}" in table and "2 of 2" in table and f"{result['slide']:.4f}" in table


def test_a_rendered_head_is_tracked_to_a_degree_and_does_not_nod_with_the_jaw(tmp_path):
    """Blurred, with grain, in a coded video: the whole way from pixels to track."""
    result = score_against_truth(tmp_path, seconds=1.6)
    for motion in result.values():
        assert motion["largest_pose_degrees"] < 1 and motion["closure_error"] < 0.01
        assert abs(motion["pitch_degrees_per_fifth"]) < 0.2
    assert result["still"]["pose_degrees"] < 0.25


def test_sliding_is_what_points_move_more_than_the_skin():
    points = torch.zeros(4, 3, 2, dtype=torch.float64)
    points[1:] += torch.tensor([3.0, 4.0])
    skin = torch.zeros_like(points)
    assert sliding(points, skin, torch.arange(4)) == pytest.approx((25 / 3) ** 0.5)
    skin[1] = torch.tensor([3.0, 4.0])
    assert sliding(points, skin, torch.arange(4)) == 0
    skin[1] = float("nan")  # not known: does not count
    assert sliding(points, skin, torch.arange(4)) == 0
    assert sliding(points, torch.zeros_like(points), torch.tensor([0, 5, 6, 7])) == 0, "nor does a step over a gap"


def test_a_head_that_moves_is_not_still():
    times = torch.arange(150, dtype=torch.float64) / 25
    gap, pitch = 0.1 * torch.sin(9 * times), torch.zeros(150, dtype=torch.float64)
    bridge = torch.zeros(150, 2, dtype=torch.float64)
    assert len(still_stretches(pitch, bridge, gap, times)) == 2
    assert len(still_stretches(pitch, bridge, 0.01 * gap, times)) == 0
    bridge[:75, 0] = torch.linspace(0, 1, 75, dtype=torch.float64)
    assert len(still_stretches(pitch, bridge, gap, times)) == 1
