"""Weights from files that say something else are refused by name, before anything of their size is built."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from prior.motion.model import KIND, KIND_VERSION, MotionConfig, MotionModel, load_motion_model
from prior.motion.sync import SyncConfig, SyncModel, load_sync_model
from prior.network import stored_network, unpacked_weights
from render.errors import StoreError
from render.store import load_tensors, save_tensors


def layer(width, depths=()):
    return nn.Sequential(nn.Linear(2, width), *(nn.Linear(width, depth) for depth in depths))


WEIGHTS = layer(3).state_dict()
ROOT = Path(__file__).parents[2]


def test_a_network_comes_back(tmp_path):
    random = torch.get_rng_state()
    built = layer(3)
    expected = torch.rand(1)
    torch.set_rng_state(random)
    network = stored_network(layer, {"width": 3, "depths": []}, WEIGHTS, tmp_path)
    assert torch.equal(torch.rand(1), expected), "as many random numbers as by building it"
    assert torch.equal(network[0].weight, WEIGHTS["0.weight"]) and len(network) == len(built)


def test_looking_at_a_network_loads_little():
    code = "import sys, prior.renderer.prior as p; p.load_renderer_prior(); sys.exit('sympy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


@pytest.mark.parametrize(
    ("sizes", "changed", "told"),
    [
        (None, {}, "says no sizes"),
        ({"width": "3"}, {}, "width is 3, which is no size"),
        ({"width": None}, {}, "width is None"),
        ({"width": True}, {}, "width is True"),
        ({"width": 0}, {}, "width is 0"),
        ({"width": float("nan")}, {}, "width is nan"),
        ({"width": 2**70}, {}, "width is 118059"),
        ({"width": 3, "depths": [1] * 1000}, {}, "depths is"),
        ({"width": 3, "depths": [[1]]}, {}, "depths is"),
        ({"width": 2.5}, {}, "no network has the sizes"),
        ({"height": 3}, {}, "no network has the sizes"),
        ({"width": 4000}, {}, r"0.weight is \[3, 2\], not \[4000, 2\]"),
        ({"width": 3}, {"0.bias": None}, "0.bias is missing"),
        ({"width": 3}, {"more": torch.zeros(1)}, "more is none of its tensors"),
        ({"width": 3}, {"0.bias": torch.zeros(3, 1)}, "0.bias is"),
        ({"width": 3}, {"0.bias": torch.tensor([0.0, float("nan"), 0.0])}, "0.bias holds values that are not finite"),
    ],
)
def test_what_is_no_such_network_is_refused(tmp_path, sizes, changed, told):
    tensors = {name: value for name, value in {**WEIGHTS, **changed}.items() if value is not None}
    with pytest.raises(StoreError, match=told):
        stored_network(layer, sizes, tensors, tmp_path)


@pytest.mark.parametrize("bias", [0.0, -1.0])
def test_what_is_divided_by_is_above_zero(tmp_path, bias):
    weights = {**WEIGHTS, "0.bias": torch.tensor([1.0, bias, 1.0])}
    assert stored_network(layer, {"width": 3}, weights, tmp_path)
    with pytest.raises(StoreError, match="0.bias holds values that are not above 0"):
        stored_network(layer, {"width": 3}, weights, tmp_path, ["0.bias"])


@pytest.mark.parametrize(
    ("made", "load", "name"),
    [
        (MotionModel(MotionConfig(4, width=8, dilations=(1,))), load_motion_model, "neutral_spread"),
        (SyncModel(SyncConfig(4, width=8, size=4, dilations=(1,))), load_sync_model, "spread"),
    ],
)
def test_a_spread_of_nothing_is_refused(tmp_path, made, load, name):
    path = tmp_path / "weights.safetensors"
    made.save(path, {})
    load(path)
    getattr(made, name)[2] = 0
    made.save(path, {})
    with pytest.raises(StoreError, match=f"{name} holds values that are not above 0"):
        load(path)


@pytest.mark.parametrize("scale", [torch.ones(2), torch.ones(3, 1), torch.ones(())])
def test_a_scale_of_another_tensor_is_refused(tmp_path, scale):
    with pytest.raises(StoreError, match="a/scale is"):
        unpacked_weights({"a": torch.ones(3, 2, dtype=torch.int8), "a/scale": scale}, tmp_path)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan")])
def test_a_scale_that_is_none_is_refused(tmp_path, scale):
    stored = {"a": torch.ones(3, 2, dtype=torch.int8), "a/scale": torch.tensor([1.0, scale, 1.0])}
    with pytest.raises(StoreError, match="a/scale holds values that are not above 0"):
        unpacked_weights(stored, tmp_path)


@pytest.mark.parametrize("front_end", [None, [], {"folder": 1, "sha256": "0"}])
def test_a_motion_model_says_which_front_end_it_needs(tmp_path, front_end):
    path = tmp_path / "motion.safetensors"
    MotionModel(MotionConfig(4, width=8, dilations=(1,))).save(path, {})
    tensors, facts = load_tensors(path, KIND, KIND_VERSION)
    save_tensors(path, KIND, KIND_VERSION, tensors, {**facts, "front_end": front_end})
    with pytest.raises(StoreError, match="does not say which front end"):
        load_motion_model(path)
