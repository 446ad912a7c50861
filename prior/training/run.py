"""A training run: the optimisation that small networks share, and what lets a long one be stopped and gone on with.

In and out of the latter: a folder with `log.jsonl`, a line each time the run is saved, and `checkpoint.safetensors`,
which holds what the run changes as one flat dictionary of tensors; those of a part are named `PART.…`. Ctrl-C and
SIGTERM end a run after the step that is being taken, so that it can be saved. How fast steps go is in `StepTimes`.
"""

import argparse
import json
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from statistics import fmean, median
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn
from tqdm import tqdm

from render.errors import AdaptError
from render.store import load_tensors, save_tensors

STATE_NAME, LOG_NAME = "checkpoint.safetensors", "log.jsonl"

#: Rate of the linear parts beside that of the rest.
LINEAR_RATE = 0.1
#: How much of a smoothed loss is the one before.
SMOOTHING = 0.97

#: Something with tensors that a run changes.
RunPart = nn.Module | torch.optim.Optimizer | dict[str, torch.Tensor]
Batch = TypeVar("Batch")
Result = TypeVar("Result")
#: Signals that end a run: Ctrl-C, what ends processes, a closed terminal.
ENDING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


def pack_parts(parts: Mapping[str, RunPart]) -> dict[str, torch.Tensor]:
    """All tensors of some parts; names of parts hold no dot."""
    tensors: dict[str, torch.Tensor] = {}
    for name, part in parts.items():
        if isinstance(part, torch.optim.Optimizer):
            for index, state in part.state_dict()["state"].items():
                tensors |= {f"{name}.{index}.{key}": value for key, value in state.items()}
        else:
            part_tensors = part.state_dict() if isinstance(part, nn.Module) else part
            tensors |= {f"{name}.{key}": value for key, value in part_tensors.items()}
    return tensors


def unpack_parts(tensors: Mapping[str, torch.Tensor], parts: Mapping[str, RunPart]) -> None:
    """Put the tensors of `pack_parts` back into parts of the same make; tensors go to where each part's are.

    Raises:
        KeyError, RuntimeError: the parts are of another make.
    """
    by_part: dict[str, dict[str, torch.Tensor]] = defaultdict(dict)
    for path, value in tensors.items():
        name, _, key = path.partition(".")
        by_part[name][key] = value
    for name, part in parts.items():
        part_tensors = by_part[name]
        if isinstance(part, torch.optim.Optimizer):
            states: dict[int, dict[str, torch.Tensor]] = defaultdict(dict)
            for path, value in part_tensors.items():
                index, _, key = path.partition(".")
                states[int(index)][key] = value
            part.load_state_dict({"state": dict(states), "param_groups": part.state_dict()["param_groups"]})
        elif isinstance(part, nn.Module):
            part.load_state_dict(part_tensors)
        else:
            for key in part:
                part[key] = part_tensors[key].to(part[key].device)


class TrainingRun:
    """How far a run is, and where that is kept.

    Args:
        folder: of log and checkpoint; made where it is not there.
        kind, kind_version: of the checkpoint file.
        save_seconds: from one checkpoint to the next.

    Attributes:
        step: steps taken, over all sittings.
        seconds: time taken, likewise; it runs from `start` on, what is saved and validated included.
        stopped_by: number of the signal that asked for the run's end, or 0.
    """

    def __init__(self, folder: Path, kind: str, kind_version: int, save_seconds: float) -> None:
        self.folder, self.save_seconds = folder, save_seconds
        self._format = kind, kind_version
        self.step, self.seconds = 0, 0.0
        self.stopped_by = 0
        self._is_breakable = False
        self._clock = self._saved = 0.0

    @property
    def is_begun(self) -> bool:
        """Whether there is a checkpoint to go on from."""
        return (self.folder / STATE_NAME).is_file()

    def start(self) -> None:
        """Let the time run."""
        self._clock = self._saved = time.monotonic()

    def tick(self) -> None:
        """Count the time since the last tick."""
        self._clock, before = time.monotonic(), self._clock
        self.seconds += self._clock - before

    def is_due(self) -> bool:
        """Whether the last checkpoint was `save_seconds` ago."""
        return time.monotonic() - self._saved > self.save_seconds

    def log(self, line: Mapping[str, Any]) -> None:
        """Append a line of JSON to the log."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / LOG_NAME).open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")

    def logged(self) -> list[dict[str, Any]]:
        """The lines of the log so far; none where the log is gone."""
        log = self.folder / LOG_NAME
        return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.is_file() else []

    def save(self, parts: Mapping[str, RunPart], facts: Mapping[str, Any]) -> None:
        """Write the checkpoint: parts, step, seconds, and further facts."""
        facts = {"step": self.step, "seconds": self.seconds, **facts}
        save_tensors(self.folder / STATE_NAME, *self._format, pack_parts(parts), facts)
        self._saved = time.monotonic()

    def resume(self, parts: Mapping[str, RunPart]) -> dict[str, Any]:
        """Put the checkpoint into parts, step and seconds; returns all its facts.

        Raises:
            StoreError, StoreVersionError: no checkpoint, or another trainer's.
            KeyError, RuntimeError: the parts are of another make.
        """
        tensors, facts = load_tensors(self.folder / STATE_NAME, *self._format)
        unpack_parts(tensors, parts)
        self.step, self.seconds = int(facts["step"]), float(facts["seconds"])
        return facts

    @contextmanager
    def stoppable(self) -> Iterator[None]:
        """Within, signals that end a run only set `stopped_by`; a second one ends the process at once."""

        def stop(number: int, _: Any) -> None:
            if self.stopped_by:
                raise KeyboardInterrupt
            self.stopped_by = number
            if self._is_breakable:
                raise _Broken

        heeded = [one for one in ENDING if signal.getsignal(one) is not signal.SIG_IGN]
        before = {number: signal.signal(number, stop) for number in heeded}
        try:
            yield
        except _Broken:
            pass
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def breakable(self, part: nn.Module) -> Iterator[None]:
        """Within, a signal breaks off at once: `stoppable` is left from here, and the part is as it was before."""
        before = {name: value.clone() for name, value in part.state_dict().items()}
        self._is_breakable = True
        try:
            yield
        except _Broken:
            part.load_state_dict(before)
            raise
        finally:
            self._is_breakable = False


class _Broken(BaseException):
    """Leaves what is breakable."""


def heed_no_signal(_: int) -> None:
    """For a worker process of a data loader: whoever started it ends it, after the step that is being taken."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)


def share_gradients(run: TrainingRun, gradients: Sequence[torch.Tensor]) -> bool:
    """Average gradients over ranks, and the clock with them; says whether any rank is to stop: all end at one step."""
    told = gradients[0].new_tensor([run.seconds, float(run.stopped_by > 0)])
    flat = torch.cat([told, *(gradient.flatten() for gradient in gradients)])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    run.seconds = float(flat[0])
    for gradient, value in zip(gradients, flat[2:].split([one.numel() for one in gradients]), strict=True):
        gradient.copy_(value.view_as(gradient))
    if is_stopped := bool(flat[1] > 0):
        run.stopped_by = run.stopped_by or signal.SIGTERM
    return is_stopped


class StepTimes:
    """How fast steps go, and how much of that is waiting for batches.

    Attributes:
        seconds: of each step, its batch included.
        waited_seconds: of each of these, until its batch was there.
    """

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.waited_seconds: list[float] = []

    def timed(self, batches: Iterator[Batch], step: Callable[[Batch], Result]) -> Result:
        """Take a step with the next batch."""
        began = time.monotonic()
        batch = next(batches)
        there = time.monotonic()
        result = step(batch)
        self.seconds.append(time.monotonic() - began)
        self.waited_seconds.append(there - began)
        return result

    def summary(self, frames: int) -> dict[str, float]:
        """Of steps of so many frames: seconds a step (median), of which waiting (mean, without the first), frames/s.

        Nothing where no step was taken.
        """
        if not self.seconds:
            return {}
        usual, waited = median(self.seconds), fmean(self.waited_seconds[1:] or self.waited_seconds)
        return {
            "seconds_a_step": round(usual, 4),
            "waiting_seconds_a_step": round(waited, 4),
            "frames_per_second": round(frames / usual, 1),
        }


def add_settings(parser: argparse.ArgumentParser, config_type: Any) -> None:
    """A flag for each field of a dataclass of settings, `--learning-rate` for `learning_rate`."""
    for field in fields(config_type):
        flag = f"--{field.name.replace('_', '-')}"
        if isinstance(field.default, bool):
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=field.default)
        else:
            parser.add_argument(flag, type=type(field.default), default=field.default)


@contextmanager
def one_line_errors(command: str) -> Iterator[None]:
    """End a command with one line and exit status 1 where the input is at fault; all else keeps its traceback."""
    try:
        yield
    except AdaptError as error:
        raise SystemExit(f"{command}: {error}") from error


def descend(
    linear: Sequence[nn.Parameter],
    others: Sequence[nn.Parameter],
    losses: Callable[[], dict[str, torch.Tensor]],
    steps: int,
    peak_rate: float,
) -> dict[str, float]:
    """One cosine run of AdamW on the sum of the losses.

    Linear parts start at a solution (ridge regression) and move slowly; everything else starts at nothing.

    Args:
        linear: parameters that start at a solution.
        others: the rest.
        losses: draws a batch; scalars by name.
        steps: of the run.
        peak_rate: highest learning rate, of the others.

    Returns:
        The smoothed losses at its end.
    """
    groups = [{"params": list(linear)}, {"params": list(others)}]
    optimiser = torch.optim.AdamW(groups, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, [LINEAR_RATE * peak_rate, peak_rate], total_steps=steps, pct_start=0.1
    )
    smoothed: dict[str, float] = {}
    for _ in (progress := tqdm(range(steps), desc="train", mininterval=10)):
        terms = losses()
        optimiser.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        nn.utils.clip_grad_norm_([*linear, *others], 1.0)
        optimiser.step()
        schedule.step()
        for name, value in terms.items():
            smoothed[name] = SMOOTHING * smoothed.get(name, value.item()) + (1 - SMOOTHING) * value.item()
        progress.set_postfix({name: f"{value:.3f}" for name, value in smoothed.items()}, refresh=False)
    return smoothed
