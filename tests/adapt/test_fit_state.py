"""Checkpoints of a fit: they come back as they were, or are refused."""

import pytest
import torch

from adapt.fitting.state import CHECKPOINT, CHECKPOINT_VERSION, Checkpoint, FitState
from render.errors import StoreError
from render.store import load_tensors, save_tensors

IDENTITY = {"seed": 0}


@pytest.fixture
def checkpoint(tmp_path):
    texture, delta = torch.zeros(1, 2, 4, 4), {"bias": torch.zeros(3)}
    best = {"texture": texture + 1, "bias": torch.ones(3)}
    state = FitState(texture, delta, {"bias/first": torch.zeros(3)}, 2, best, 0.25, 0.5, [{"step": 1.0}])
    checkpoint = Checkpoint(tmp_path / "a.checkpoint", identity=IDENTITY)
    state.save(checkpoint)
    return checkpoint


def test_a_checkpoint_comes_back(checkpoint):
    state = FitState.load(checkpoint)
    assert (state.step, state.best_loss, state.unadapted_loss, state.history) == (2, 0.25, 0.5, [{"step": 1.0}])
    assert set(state.parameters) == set(state.best) == {"texture", "bias"} and set(state.moments) == {"bias/first"}


@pytest.mark.parametrize(
    ("tensors", "facts", "told"),
    [
        ({}, {"fit": None}, "of another fit"),
        ({"bias": torch.zeros(3)}, {}, "is damaged"),
        ({"later/bias": torch.zeros(3)}, {}, "is damaged"),
        ({"now/texture": None}, {}, "is damaged"),
        ({"best/bias": torch.zeros(4)}, {}, "is damaged"),
        ({"best/bias": None}, {}, "is damaged"),
        ({}, {"step": "2"}, "is damaged"),
        ({}, {"history": None}, "is damaged"),
        ({}, {"more": 1}, "is damaged"),
    ],
)
def test_a_damaged_checkpoint_is_refused(checkpoint, tensors, facts, told):
    stored, known = load_tensors(checkpoint.path, CHECKPOINT, CHECKPOINT_VERSION)
    changed = {name: value for name, value in {**stored, **tensors}.items() if value is not None}
    save_tensors(checkpoint.path, CHECKPOINT, CHECKPOINT_VERSION, changed, {**known, **facts})
    with pytest.raises(StoreError, match=told):
        FitState.load(checkpoint)
