"""Features of mouths, by which a fit compares what it draws with what is real."""

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import avg_pool2d

from prior.renderer.mouth_features import WEIGHTS, MouthFeatures, load_mouth_features, mouth_error
from render.drawing.gbuffer import GBuffer
from render.drawing.renderer import RenderInputs
from render.errors import StoreError


def inputs_of(real: torch.Tensor) -> RenderInputs:
    """What was drawn from: a mouth in the middle, all erased."""
    erased = torch.ones_like(real[:, :1])
    mouth = torch.zeros_like(erased)
    mouth[..., 80:110, 70:120] = 1
    nothing = torch.zeros_like(erased)
    buffer = GBuffer(torch.zeros(len(real), 192, 224, 2), mouth, mouth, mouth, nothing, nothing[:, 0])
    count = len(real)
    return RenderInputs(
        buffer, erased, erased, real, torch.zeros(count, 5, 1), torch.zeros(count), torch.zeros(count, 2)
    )


def test_what_is_soft_is_farther_from_the_real_mouth_and_a_small_face_teaches_nothing():
    torch.manual_seed(0)
    real = avg_pool2d(torch.rand(2, 3, 196, 228), 5, 1)
    inputs, features = inputs_of(real), load_mouth_features()
    softer = [avg_pool2d(real, size, 1, size // 2, count_include_pad=False) for size in (3, 7)]
    errors = [float(mouth_error(features, one, inputs)) for one in (real, *softer)]
    assert errors[0] == 0 and 0.05 < errors[1] < errors[2]
    elsewhere = real.clone()
    elsewhere[..., :8, :] = 0
    assert float(mouth_error(features, elsewhere, inputs)) == 0, "far from the mouth"
    small = replace(inputs, log_scale=torch.full((2,), -1.0))
    assert float(mouth_error(features, softer[0], small)) == 0
    drawn = softer[0].clone().requires_grad_(True)
    mouth_error(features, drawn, inputs).backward()
    assert float(drawn.grad.abs().sum()) > 0 and all(not p.requires_grad for p in features.parameters())


def test_features_are_stored_and_read_the_same(tmp_path):
    torch.manual_seed(0)
    network, path = MouthFeatures(8), tmp_path / "features.safetensors"
    network.save_features(path)
    again = load_mouth_features(path)
    for layer, other in zip(network.layers, again.layers, strict=True):
        assert float((layer.weight - other.weight).abs().max()) < float(layer.weight.abs().max()) / 100
    with pytest.raises(StoreError, match=r"renderer\.safetensors: .*adapt-mouth-features"):
        load_mouth_features(WEIGHTS.with_name("renderer.safetensors"))
