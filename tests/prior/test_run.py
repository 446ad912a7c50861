"""A training run: its time, its log, its checkpoint, how it is stopped, and how its command fails."""

import json
import os
import signal
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from prior.training.run import StepTimes, TrainingRun, one_line_errors, share_gradients
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


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_asks_for_the_end_and_a_second_one_ends(tmp_path: Path, sent: int):
    run, before = TrainingRun(tmp_path, "kind", 1, 0.0), signal.getsignal(sent)
    with run.stoppable():
        os.kill(os.getpid(), sent)
        assert run.stopped_by == sent
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), sent)
    assert signal.getsignal(sent) == before


def test_what_is_breakable_ends_at_once(tmp_path: Path):
    run, done, part = TrainingRun(tmp_path, "kind", 1, 0.0), [], torch.nn.Linear(1, 1)
    with run.stoppable():
        with run.breakable(part), torch.no_grad():
            part.weight.fill_(1)
            done.append(1)
        os.kill(os.getpid(), signal.SIGTERM)
        done.append(2)
    assert done == [1, 2], "not any more"
    run = TrainingRun(tmp_path, "kind", 1, 0.0)
    with run.stoppable(), run.breakable(part), torch.no_grad():
        part.weight.fill_(2)
        os.kill(os.getpid(), signal.SIGTERM)
        done.append(3)
    assert done == [1, 2] and run.stopped_by == signal.SIGTERM
    assert part.weight.item() == 1, "what was half done is done anew by who goes on"


def test_a_signal_that_is_ignored_stays_so(tmp_path: Path):
    run, before = TrainingRun(tmp_path, "kind", 1, 0.0), signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with run.stoppable():  # as nohup starts it
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert not run.stopped_by


def test_ranks_share_gradients_and_who_is_to_stop(tmp_path: Path):
    run, gradients = TrainingRun(tmp_path, "kind", 1, 0.0), [torch.ones(2), torch.full((1, 3), 2.0)]
    run.seconds = 1.5
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        assert not share_gradients(run, gradients)
        run.stopped_by = signal.SIGINT
        assert share_gradients(run, gradients)
    finally:
        dist.destroy_process_group()
    assert run.seconds == 1.5 and [one.sum().item() for one in gradients] == [2, 6]


def test_step_times_tell_waiting_from_work(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("prior.training.run.time.monotonic", lambda: now[0])

    def batches():
        for seconds in (8.0, 1.0, 0.0, 2.0):  # the first is not there yet
            now[0] += seconds
            yield seconds

    def step(batch: float) -> float:
        now[0] += 3.0
        return 2 * batch

    times, stream = StepTimes(), batches()
    assert times.summary(12) == {}
    assert [times.timed(stream, step) for _ in range(4)] == [16, 2, 0, 4]
    assert times.summary(12) == {"seconds_a_step": 4.5, "waiting_seconds_a_step": 1.0, "frames_per_second": 2.7}


def test_an_inputs_fault_ends_a_command_with_one_line():
    with pytest.raises(SystemExit) as stopped, one_line_errors("prior.training.x"):
        raise StoreError("cache: empty")
    assert stopped.value.code == "prior.training.x: cache: empty"  # Python prints it and exits with status 1
    with pytest.raises(ZeroDivisionError), one_line_errors("prior.training.x"):
        raise ZeroDivisionError("a bug")
