"""A training run: its time, its log, its checkpoint, and how its command fails."""

import json
from pathlib import Path

import pytest
import torch

from prior.training.run import TrainingRun, one_line_errors
from render.errors import StoreError, StoreVersionError


def learnt(seed: int, steps: int) -> tuple[torch.nn.Module, torch.optim.Optimizer, dict[str, torch.Tensor]]:
    torch.manual_seed(seed)
    network = torch.nn.Linear(3, 2)
    optimiser = torch.optim.Adam(network.parameters())
    for _ in range(steps):
        optimiser.zero_grad()
        network(torch.randn(4, 3)).square().sum().backward()
        optimiser.step()
    return network, optimiser, {"running": torch.rand(3)}


def test_a_run_goes_on_with_its_parts_time_and_facts(tmp_path: Path):
    run = TrainingRun(tmp_path / "run", "kind", 1, 0.0)
    assert not run.is_begun
    parts = dict(zip(("weight", "adam", "mean"), learnt(0, 3), strict=True))
    run.start()
    run.tick()
    run.step += 3
    assert run.is_due() and run.seconds > 0
    run.log({"step": run.step})
    run.save(parts, {"best": 0.25})
    again = TrainingRun(tmp_path / "run", "kind", 1, 60.0)
    assert again.is_begun
    others = dict(zip(("weight", "adam", "mean"), learnt(1, 0), strict=True))
    facts = again.resume(others)
    assert (again.step, again.seconds, facts["best"]) == (3, run.seconds, 0.25)
    assert torch.equal(others["weight"].weight, parts["weight"].weight)
    assert torch.equal(others["mean"]["running"], parts["mean"]["running"])
    moments = [part["adam"].state_dict()["state"][0] for part in (parts, others)]
    assert all(torch.equal(moments[0][name], moments[1][name]) for name in moments[0]) and moments[0]["step"] == 3
    again.start()
    assert not again.is_due()
    again.log({"step": 4})
    assert [json.loads(line)["step"] for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()] == [3, 4]


def test_another_trainers_checkpoint_is_refused(tmp_path: Path):
    TrainingRun(tmp_path, "kind", 1, 0.0).save({}, {})
    with pytest.raises(StoreError, match="expected other"):
        TrainingRun(tmp_path, "other", 1, 0.0).resume({})
    with pytest.raises(StoreVersionError):
        TrainingRun(tmp_path, "kind", 2, 0.0).resume({})


def test_an_inputs_fault_ends_a_command_with_one_line():
    with pytest.raises(SystemExit) as stopped, one_line_errors("prior.training.x"):
        raise StoreError("cache: empty")
    assert stopped.value.code == "prior.training.x: cache: empty"  # Python prints it and exits with status 1
    with pytest.raises(ZeroDivisionError), one_line_errors("prior.training.x"):
        raise ZeroDivisionError("a bug")
