"""Losses of the renderer and the perceptual distance behind one of them."""

from dataclasses import replace

import pytest
import torch

from prior.renderer.losses import LossWeights, renderer_loss, texture_strength
from prior.renderer.perceptual import TRUNK_NAME, feature_distance, load_trunk
from render.drawing.gbuffer import GBuffer
from render.drawing.renderer import RenderInputs
from render.errors import StoreError


def test_texture_strength_is_what_blur_lacks():
    torch.manual_seed(0)
    real = torch.rand(1, 3, 64, 64)
    erased = torch.ones(1, 1, 64, 64)
    erased[..., :16] = 0
    blurred = torch.nn.functional.avg_pool2d(real, 3, 1, 1, count_include_pad=False)
    strong, weak = (texture_strength(image, erased, 3) for image in (real, blurred))
    assert float((weak / strong)[..., 2:].max()) < 0.6 and strong.shape == (1, 3, 7, 7)
    moved = real.roll(5, -1)  # as strong, elsewhere: the strength hardly notices, the colours do
    other = texture_strength(moved, erased, 3)
    assert abs(float((other / strong)[..., 3:].mean()) - 1) < 0.05
    assert float(strong[..., 0].max()) < 0.01, "outside the mask nothing counts"


def test_loss_is_least_at_the_truth_and_counts_the_mouth_most(models):
    torch.manual_seed(0)
    real = torch.rand(2, 3, 64, 64)
    erased = torch.ones(2, 1, 64, 64)
    lower_face, mouth = torch.zeros_like(erased), torch.zeros_like(erased)
    lower_face[..., 16:, :], mouth[..., 30:40, 20:40] = 1, 1
    nothing = torch.zeros_like(erased)
    buffer = GBuffer(torch.zeros(2, 64, 64, 2), lower_face, mouth, lower_face, nothing, nothing[:, 0])
    inputs = RenderInputs(buffer, erased, erased, real, torch.zeros(2, 5, 1), torch.zeros(2), torch.zeros(2, 2))
    trunk = load_trunk(models / TRUNK_NAME)

    def loss(rgb: torch.Tensor, log_scale: float = 0.0) -> dict[str, torch.Tensor]:
        told = replace(inputs, log_scale=torch.full((2,), log_scale))
        return renderer_loss((rgb, 8 * (2 * lower_face - 1)), told, trunk=trunk)

    none = loss(real)
    assert float(none["total"]) < 1e-3
    spot, corner = real.clone(), real.clone()
    spot[..., 32:36, 28:32] += 0.5
    corner[..., 2:6, 2:6] += 0.5
    assert float(loss(spot)["colour"]) > 4 * float(loss(corner)["colour"]) > 0
    assert float(loss(spot)["perceptual"]) > 0
    assert float(loss(spot, -1.0)["detail"]) == 0, "a small face scaled up teaches no detail"
    assert float(loss(real)["total"]) < float(loss(real + 0.01)["total"])
    assert "perceptual" not in renderer_loss((real, lower_face), inputs, LossWeights())


def test_feature_distance_is_a_distance_with_gradient(models):
    torch.manual_seed(0)
    trunk = load_trunk(models / TRUNK_NAME)
    first, second = torch.rand(2, 3, 64, 64, requires_grad=True), torch.rand(2, 3, 64, 64)
    assert float(feature_distance(trunk, second, second).abs().max()) == 0
    distance = feature_distance(trunk, first, second)
    distance.sum().backward()
    assert bool((distance > 0).all()) and float(first.grad.abs().sum()) > 0
    with pytest.raises(StoreError, match="ADAPT_MODELS"):
        load_trunk(models / "nothing.safetensors")
