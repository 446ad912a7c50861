"""Checkpoints of a fit: they come back as they were, or are refused."""

from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch

from adapt.fitting.clip import KEPT_INPUTS
from adapt.fitting.optimiser import JUDGING, MOST_JUDGED, Pace, optimise
from adapt.fitting.options import FitOptions
from adapt.fitting.state import CHECKPOINT, CHECKPOINT_VERSION, Checkpoint, FitState
from adapt.progress import Silent
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


class Interrupting(Silent):
    """Ctrl-C after so many steps; keeps what is noted."""

    def __init__(self, after=None):
        super().__init__()
        self.after, self.notes = after, []

    def note(self, text):
        self.notes.append(text)

    @contextmanager
    def stage(self, name, total=None):
        done = 0

        def advance(count):
            nonlocal done
            done += count
            if done == self.after:
                raise KeyboardInterrupt

        yield advance


def test_an_interrupted_fit_goes_on_where_it_was_to_the_same_bytes(fitted, tmp_path):
    options, given = FitOptions(steps=3), (fitted.prior, fitted.clips, fitted.unadapted)
    whole = optimise(*given, options)
    place, progress = tmp_path / ".ada.actor.checkpoint", Interrupting(after=2)
    with pytest.raises(KeyboardInterrupt):
        optimise(*given, options, Checkpoint(place), progress)
    assert place.is_file()
    progress = Interrupting()
    resumed = optimise(*given, options, Checkpoint(place, resume=True), progress)
    assert progress.notes == ["ada.actor: goes on at step 2 of 3"]
    for name, value in whole.parameters.items():
        assert torch.equal(value, resumed.parameters[name]), name
    place.unlink()
    progress = Interrupting(after=1)
    with pytest.raises(KeyboardInterrupt):
        optimise(*given, options, Checkpoint(place, resume=True), progress)
    assert progress.notes == ["ada.actor: there is nothing to go on from; it begins anew"]


def test_a_state_that_is_being_changed_is_not_saved(fitted, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("adapt.fitting.optimiser._adam", interrupted)
    with pytest.raises(KeyboardInterrupt):
        optimise(fitted.prior, fitted.clips, fitted.unadapted, FitOptions(steps=2), Checkpoint(tmp_path / "a"))
    assert not list(tmp_path.iterdir())


def test_what_is_left_of_a_fit_counts_steps_inputs_and_judging():
    reader = SimpleNamespace(clips=[SimpleNamespace(learn=range(100))], made=7, seconds_to_make=9.0)
    pace = Pace(reader)
    assert pace.told_after(1, 400) is None and pace.told_after(2, 400) is None
    pace.begin(0)
    reader.made, reader.seconds_to_make = 17, 10.0  # ten of the hundred frames were learnt from
    expected = 390 * 0.2 + 90 * 0.1 + (4 + 2) * JUDGING * MOST_JUDGED * 0.2
    assert pace.seconds_left(10, 400, 3.0) == pytest.approx(expected)
    with pace.judged():
        pass  # takes no time
    assert pace.seconds_left(10, 400, 3.0) == pytest.approx(390 * 0.2 + 90 * 0.1, abs=0.1)
    reader.clips[0].learn = range(2 * KEPT_INPUTS)  # half of them are made anew each time
    assert pace.seconds_left(10, 400, 3.0) > 390 * (0.2 + 0.05)
