import pytest
import torch

from prior.face.model import load_face_model
from prior.renderer.prior import WEIGHTS, RendererPrior, load_renderer_prior
from render.errors import StoreError
from render.store import packed, unpacked


def test_weights_in_8_bits_are_within_half_a_step():
    weights = {
        "conv.weight": torch.randn(64, 32, 3, 3) * torch.logspace(-3, 1, 64)[:, None, None, None],
        "norm.weight": torch.randn(64),
        "mean_texture": torch.rand(16, 32, 32),
        "erasing_expressions": torch.randn(400, 16),
    }
    stored = packed(weights)
    assert stored["conv.weight"].dtype == torch.int8
    read = unpacked(stored)
    assert read.keys() == weights.keys()
    step = weights["conv.weight"].flatten(1).abs().amax(1) / 127
    error = (read["conv.weight"] - weights["conv.weight"]).flatten(1).abs().amax(1)
    assert bool((error <= 0.501 * step).all())
    torch.testing.assert_close(read["erasing_expressions"], weights["erasing_expressions"], rtol=0, atol=0)
    torch.testing.assert_close(read["mean_texture"], weights["mean_texture"], rtol=0, atol=0.51 / 127)


def test_the_shipped_prior_is_stored_and_read_the_same(tmp_path):
    prior = load_renderer_prior()
    prior.save(tmp_path / "again.safetensors")
    again = load_renderer_prior(tmp_path / "again.safetensors")
    for name, value in prior.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, rtol=1e-3, atol=1e-6)
    assert WEIGHTS.stat().st_size < 16e6


def test_expressions_of_no_width_are_refused(tmp_path):
    prior = RendererPrior(load_face_model(), {"widths": [4, 8]})
    prior.renderer.expression_scale[3] = 0
    prior.save(tmp_path / "prior.safetensors")
    with pytest.raises(StoreError, match="renderer.expression_scale holds values that are not above 0"):
        load_renderer_prior(tmp_path / "prior.safetensors")
