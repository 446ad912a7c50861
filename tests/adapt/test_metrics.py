"""Image metrics, cheap baselines and the evaluation of the renderer."""

import json
import math
from pathlib import Path

import pytest
import torch

from adapt.baselines.transplant import EnrollmentFrames, frozen_mouth, nearest_mouth
from adapt.benchmarks.fit import sheet
from adapt.benchmarks.leak import partial_correlation
from adapt.metrics.picture import (
    concordance,
    correlation,
    flicker_ratio,
    mouth_box_mask,
    psnr,
    score_frames,
    ssim,
    texture_ratio,
)
from adapt.tracking.crop import read_crops
from prior.face.model import load_face_model
from render.drawing.gbuffer import gbuffer
from render.drawing.masks import dilate
from render.head.track import Track
from render.video.reader import Footage

MODEL = load_face_model()


def test_metrics_at_known_values():
    torch.manual_seed(0)
    real = 0.5 + 0.2 * torch.rand(3, 3, 64, 64)
    mask = torch.zeros(3, 1, 64, 64)
    mask[..., 16:48, 16:48] = 1
    off = real + 0.1 * mask
    assert psnr(off, real, mask).tolist() == pytest.approx([20.0] * 3, abs=1e-3)
    assert psnr(real, real, mask).tolist() == [60.0] * 3
    assert ssim(real, real, mask).tolist() == pytest.approx([1.0] * 3) and bool((ssim(off, real, mask) < 1).all())
    twice = 0.5 + 2 * (real - 0.5)
    assert texture_ratio(twice, real, mask).tolist() == pytest.approx([2.0] * 3, rel=1e-3)
    blurred = torch.nn.functional.avg_pool2d(real, 5, 1, 2)
    assert float(texture_ratio(blurred, real, mask).max()) < 0.5
    outside = real.clone()
    outside[..., :8, :] = 0
    assert psnr(outside, real, mask).tolist() == [60.0] * 3, "what lies outside the mask does not count"


def test_flicker_counts_neighbours_in_time_only():
    times = torch.tensor([0.0, 0.04, 5.0, 5.04], dtype=torch.float64)
    real = torch.tensor([0.0, 0.1, 0.9, 1.0])[:, None, None, None].expand(4, 3, 8, 8)
    drawn = torch.tensor([0.0, 0.2, 0.0, 0.2])[:, None, None, None].expand(4, 3, 8, 8)
    mask = torch.ones(4, 1, 8, 8)
    assert float(flicker_ratio(drawn, real, mask, times)) == pytest.approx(2.0, rel=1e-5)
    assert math.isnan(float(flicker_ratio(drawn[::2], real[::2], mask[::2], times[::2])))


def test_concordance_and_correlations():
    torch.manual_seed(0)
    wanted = torch.randn(200)
    assert concordance(wanted, wanted) == 1
    assert concordance(wanted + 1, wanted) < 0.8 and correlation(wanted + 1, wanted) == pytest.approx(1, abs=1e-5)
    cause = torch.randn(200)
    first, second = cause + 0.1 * torch.randn(200), cause + 0.1 * torch.randn(200)
    assert correlation(first, second) > 0.9 and abs(partial_correlation(first, second, cause)) < 0.3


@pytest.fixture(scope="module")
def scene(talking_clip: tuple[Path, Track]) -> tuple[Track, torch.Tensor]:
    path, track = talking_clip
    track = track.with_crop_size(256)
    return track, read_crops(Footage(path), track, range(len(track))).float() / 255


def test_baselines_copy_a_mouth_and_read_nothing_of_what_is_erased(scene):
    track, crops = scene
    frames, known = torch.arange(20, 40), torch.arange(0, 20)
    erased = dilate(gbuffer(MODEL, track.clip_vertices(MODEL, frames)).lower_face, 10)
    enrollment = EnrollmentFrames(track, known, crops[known])
    painted = torch.where(erased > 0, torch.rand_like(crops[frames]), crops[frames])
    for baseline in (nearest_mouth, frozen_mouth):
        picture = baseline(MODEL, enrollment, track, frames, crops[frames], erased)
        assert torch.equal(picture, baseline(MODEL, enrollment, track, frames, painted, erased))
        outside = (erased == 0).expand_as(picture)
        assert torch.equal(picture[outside], crops[frames][outside])
        assert float(psnr(picture, crops[frames], erased).mean()) > 18
    # Where the enrollment holds the very frames, the nearest mouth is the mouth itself.
    same = nearest_mouth(MODEL, EnrollmentFrames(track, frames, crops[frames]), track, frames, crops[frames], erased)
    assert float(psnr(same, crops[frames], erased).mean()) > 30


def test_scores_and_sheet(scene):
    _, crops = scene
    real = crops[:6]
    erased = mouth_box_mask(real)
    times = torch.arange(6, dtype=torch.float64) / 25
    scores = [score_frames(real + error, real, erased, times, None) for error in (0.0, 0.02, 0.05, 0.1)]
    json.dumps(scores)
    assert scores[0]["mouth"]["psnr"] == 60
    for region in ("mouth", "erased"):
        errors = [line[region]["psnr"] for line in scores]
        assert errors == sorted(errors, reverse=True)
    picture = sheet({"real": real, "prior": real})
    assert picture.ndim == 3 and picture.shape[1] > 512
