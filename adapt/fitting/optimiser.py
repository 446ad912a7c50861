"""The optimisation of `adapt fit`: a texture and a small delta of the renderer learn one actor's frames.

In: the unadapted look, and clips with frames to learn from and held-out ones. Texture and delta are optimised
together, a frame a step, by the loss that the prior was learnt with and the features of mouths; now and then it is a
frame of `adapt.fitting.replay`, so that the prior's drawing of what is never shown is not unlearnt. Kept is a point
on the way from the prior to the state that draws the held-out frames best (Wortsman et al. 2022); where every state
is worse than the unadapted prior, that is kept. A checkpoint resumes to the same bytes.
"""

import math
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import accumulate

import torch

from adapt.actor.delta import new_delta, with_delta
from adapt.device import one_thread
from adapt.fitting.clip import KEPT_INPUTS, FirstLook, FitClip, FrameReader
from adapt.fitting.options import FitOptions
from adapt.fitting.replay import REPLAY_EVERY, REPLAY_WEIGHT, REPLAYED, Replay
from adapt.fitting.state import Checkpoint, FitState
from adapt.progress import SILENT, Progress
from prior.renderer.losses import renderer_loss
from prior.renderer.mouth_features import mouth_error
from prior.renderer.prior import RendererPrior
from render.drawing.look import Bank, Look
from render.drawing.renderer import RenderInputs, draw_trainable
from render.errors import OutputError

#: Tried, no gain: four times the texture's rate; the delta's times three or a third; the texture alone at first.
TEXTURE_RATE, DELTA_RATE, LAST_RATE = 1e-2, 3e-3, 0.02
#: Parts of the way from the prior to the best state: the first is taken where it is level with the best state on
#: held-out frames, otherwise the second where it is at least level with the prior.
#: Tried, no gain: a mean of late states on top.
BLENDS = (0.7, 0.85)
#: Expression noise, in standard deviations: motion from sound differs from tracked motion.
EXPRESSION_NOISE = 0.15
#: Weight of the features of mouths beside the loss that the prior was learnt with: about three times as large a
#: gradient. Without them a fit draws mouths no nearer to the real ones in features than the prior does; with a third of
#: the weight, .03 further away (SN); with three times as much, no nearer, and all around the mouth further.
FEATURE_WEIGHT = 0.018
GOLDEN_RATIO = (5**0.5 - 1) / 2
JUDGE_EVERY = 100
MOST_JUDGED = 16
#: To judge by a held-out frame takes about this part of a step.
JUDGING = 0.35
#: After so many steps it is told how long the rest takes, unless that is less than so many seconds.
TOLD_AFTER, LEAST_TOLD_SECONDS = 10, 5.0
CHECKPOINT_EVERY = 50
#: Losses that differ by less than this part are called level. Between a fit and the unadapted prior that are level the
#: fit is taken: it is sharper, and absolute differences favour what is smooth.
LEVEL = 0.01


class Pace:
    """How long a fit takes, by the speed of its first steps.

    The first time that a frame is learnt from its inputs are made, which most later steps need not do; and now and then
    held-out frames are judged.

    Args:
        reader: of the fit.
    """

    def __init__(self, reader: FrameReader) -> None:
        self.reader = reader
        self._judging: float | None = None
        self._first, self._started, self._before = 0, 0.0, (0, 0.0)
        self._is_warm = False

    @contextmanager
    def judged(self) -> Iterator[None]:
        """Measure how long it takes to judge."""
        started, made = time.monotonic(), self.reader.seconds_to_make
        yield
        self._judging = time.monotonic() - started - (self.reader.seconds_to_make - made)

    def begin(self, step: int) -> None:
        """Measure from a step on."""
        self._first, self._started = step, time.monotonic()
        self._before = self.reader.made, self.reader.seconds_to_make

    def told_after(self, step: int, steps: int) -> float | None:
        """Seconds left after the first `TOLD_AFTER` steps, where they are worth telling; else None."""
        if step - self._first == 1 and not self._is_warm:  # the first step, which lays things out, does not count
            self.begin(step)
            self._is_warm = True
        if step - self._first != TOLD_AFTER - 1 or not self._is_warm:
            return None
        left = self.seconds_left(step, steps, time.monotonic() - self._started)
        return left if left >= LEAST_TOLD_SECONDS else None

    def seconds_left(self, step: int, steps: int, spent: float) -> float:
        """Seconds from a step to the end of a fit, where those up to now took `spent`."""
        made, making = self.reader.made - self._before[0], self.reader.seconds_to_make - self._before[1]
        a_step = max(spent - making, 0.0) / max(step - self._first, 1)
        frames, left = sum(len(clip.learn) for clip in self.reader.clips), steps - step
        kept = min(frames, KEPT_INPUTS) / max(frames, 1)
        new = min(max(kept * frames - made, 0.0), left) * kept + left * (1 - kept)
        judging = JUDGING * MOST_JUDGED * a_step if self._judging is None else self._judging
        judged = steps // JUDGE_EVERY - step // JUDGE_EVERY + bool(steps % JUDGE_EVERY) + len(BLENDS)
        return a_step * left + making / max(made, 1) * new + judged * judging


@one_thread()  # two on two idle cores took a fifth longer: a step of few frames is small work
def optimise(
    prior: RendererPrior,
    clips: list[FitClip],
    first: FirstLook,
    options: FitOptions,
    checkpoint: Checkpoint | None = None,
    progress: Progress = SILENT,
) -> FitState:
    """Fit a texture and a renderer delta to clips.

    Args:
        prior: renderer prior; not changed.
        clips: what to learn from and be judged on.
        first: the unadapted look; its bank stays as it is.
        options: steps, minutes, seed and device are read. Steps grow smaller towards the end of the minutes, too; 0
            minutes take no step.
        checkpoint: saved to every `CHECKPOINT_EVERY` steps, and where the work is interrupted.
        progress: where the bar goes.

    Returns:
        The last state, on the CPU; `adapted` holds the parameters to draw with.
    """
    reader = FrameReader(prior, clips, first, options.device)
    texture = first.look.texture
    steps, seed = options.steps, options.seed
    pace, replay = Pace(reader), Replay(reader, seed)
    seconds = None if options.minutes is None else options.minutes * 60
    if checkpoint is not None and checkpoint.resume and checkpoint.path.is_file():
        state = FitState.load(checkpoint).to(reader.device)
        progress.note(f"{checkpoint.name}: goes on at step {state.step} of {steps}")
    else:
        if checkpoint is not None and checkpoint.resume and checkpoint.is_expected:
            progress.note(f"{checkpoint.name}: there is nothing to go on from; it begins anew")
        state = FitState(texture.clone(), new_delta(prior.renderer, seed)).to(reader.device)
        with pace.judged():
            state.unadapted_loss = held_out_loss(reader, state)
        state.best_loss = state.unadapted_loss * (1 + LEVEL)
    started = time.monotonic()
    pace.begin(state.step)
    with _saved_when_interrupted(state, checkpoint), progress.stage("fit", steps) as advance:
        advance(state.step)
        while state.step < steps and (done := max(state.step / steps, _spent(started, seconds))) < 1:
            take_step(reader, state, done, seed, replay)
            advance(1)
            if (left := pace.told_after(state.step, steps)) is not None:
                left = left if seconds is None else min(left, seconds - (time.monotonic() - started))
                progress.note(f"fit: about {left / 60:.1f} minutes more at the speed of its first steps")
            if state.step % JUDGE_EVERY == 0:
                _keep_best(state, held_out_loss(reader, state))
            if checkpoint is not None and state.step % CHECKPOINT_EVERY == 0:
                _save(state, checkpoint)
    if not state.history or state.history[-1]["step"] < state.step:
        _keep_best(state, held_out_loss(reader, state))
    _keep_blend(reader, state, texture.to(reader.device))
    return state.to(torch.device("cpu"))


@contextmanager
def _saved_when_interrupted(state: FitState, checkpoint: Checkpoint | None) -> Iterator[None]:
    """Save a state to its checkpoint where Ctrl-C, or what is like it, ends the work between two changes of it."""
    try:
        yield
    except KeyboardInterrupt:
        if checkpoint is not None and state.is_whole and state.step:
            _save(state, checkpoint)
        raise


def _save(state: FitState, checkpoint: Checkpoint) -> None:
    """Save a state; where nobody counts on it, a full disk does not end the fit."""
    with suppress(*() if checkpoint.is_expected else (OSError, OutputError)):
        state.save(checkpoint)


def _spent(started: float, seconds: float | None) -> float:
    """Part of a budget that is gone; no budget is never gone."""
    return 0.0 if seconds is None else (time.monotonic() - started) / max(seconds, 1e-9)


def _keep_best(state: FitState, loss: float) -> None:
    state.history.append({"step": state.step, "held_out_loss": loss})
    if loss < state.best_loss:
        state.best_loss = loss
        state.best = {name: value.detach().clone() for name, value in state.parameters.items()}


def _keep_blend(reader: FrameReader, state: FitState, texture: torch.Tensor) -> None:
    """Go back from the best state towards the unadapted `texture` and network, as far as `chosen_part` has it."""
    best = state.best
    if not best:
        return

    def loss_of(part: float) -> float:
        return held_out_loss(reader, part_of_the_way(texture, best, part))

    part, state.best_loss = chosen_part(loss_of, state.best_loss, state.unadapted_loss)
    if part < 1:
        state.best = part_of_the_way(texture, best, part).parameters


def chosen_part(loss_of: Callable[[float], float], best_loss: float, unadapted_loss: float) -> tuple[float, float]:
    """Which part of the way from the prior to the best state is kept.

    Held-out frames are near those that were learnt from; what is further away is drawn better by what moved less. So
    part of the way is gone back even where held-out frames lose by it, and more where they hardly change.

    Args:
        loss_of: loss on held-out frames after a part of the way; asked for no more parts than needed.
        best_loss: of the best state.
        unadapted_loss: of the prior.

    Returns:
        The part, 1 for all of the way, and its loss.
    """
    for part, reference in zip(BLENDS, (best_loss, unadapted_loss), strict=True):
        loss = loss_of(part)
        if loss <= reference * (1 + LEVEL):
            return part, loss
    return 1.0, best_loss


def part_of_the_way(texture: torch.Tensor, best: dict[str, torch.Tensor], part: float) -> FitState:
    """The state a part of the way from the unadapted `texture` and network to the parameters of the best state."""
    # Of a product of two factors only the left one is scaled.
    delta = {name: value if name.endswith(".right") else part * value for name, value in best.items()}
    delta.pop("texture")
    return FitState(torch.lerp(texture, best["texture"], part), delta)


def frame_of_step(counts: Sequence[int], seed: int, step: int) -> tuple[int, int]:
    """Which frame a step learns from: steps of the golden ratio through all frames, one clip after another.

    Any run of steps spreads evenly over the frames, and so over the motion (Weyl 1916); frames drawn at random leave
    some out, and two seeds differ more.

    Args:
        counts: frames to learn from, by clip.
        seed: where the walk starts.
        step: from 0.

    Returns:
        Number of the clip, and place among its frames to learn from.
    """
    start = float(torch.rand((), dtype=torch.float64, generator=torch.Generator().manual_seed(seed)))
    ends = list(accumulate(counts))
    place = min(int((start + step * GOLDEN_RATIO) % 1 * ends[-1]), ends[-1] - 1)
    number = bisect_right(ends, place)
    return number, place - ends[number] + counts[number]


def take_step(reader: FrameReader, state: FitState, done: float, seed: int, replay: Replay | None = None) -> None:
    """One Adam step on a frame chosen by (seed, step) alone, so that a resumed fit goes the same way.

    `done` is the part of the fit that lies behind, in [0, 1). Now and then, where there is a `replay`, what it holds is
    learnt instead.
    """
    counts, weight = [len(clip.learn) for clip in reader.clips], 1.0
    if replay is not None and (state.step + 1) % REPLAY_EVERY == 0:
        index = state.step // REPLAY_EVERY % REPLAYED
        number, place = frame_of_step(counts, seed, index * REPLAY_EVERY)
        row = int(reader.clips[number].learn[place])
        inputs, weight = replay.read(index, number, row), REPLAY_WEIGHT
    else:
        number, place = frame_of_step(counts, seed, state.step)
        row = int(reader.clips[number].learn[place])
        inputs = reader.read(number, row)
        generator = torch.Generator().manual_seed(seed * 1_000_003 + state.step)
        noise = torch.randn(1, 1, inputs.window.shape[2], generator=generator).to(reader.device)
        inputs = replace(inputs, window=inputs.window + EXPRESSION_NOISE * reader.renderer.expression_scale * noise)
    leaves = {name: value.requires_grad_() for name, value in state.parameters.items()}
    loss = weight * _loss(reader, inputs, state, reader.bank(number, row))
    gradients = torch.autograd.grad(loss, list(leaves.values()))
    decay = LAST_RATE + (1 - LAST_RATE) * 0.5 * (1 + math.cos(math.pi * done))
    state.is_whole = False
    state.step += 1
    with torch.no_grad():
        for (name, value), gradient in zip(leaves.items(), gradients, strict=True):
            value.requires_grad_(False)
            rate = (TEXTURE_RATE if name == "texture" else DELTA_RATE) * decay
            _adam(state, name, value, gradient, rate)
    state.is_whole = True


def _adam(state: FitState, name: str, value: torch.Tensor, gradient: torch.Tensor, rate: float) -> None:
    """Adam (Kingma and Ba 2015) in place, with moments that live in the state so that a checkpoint holds them."""
    squared = gradient.square()
    if name == "texture":
        # One step size a channel: a size of its own would let noise push texels about that hardly matter.
        reached = (squared > 0).sum((2, 3), keepdim=True).clamp(min=1)
        squared = squared.sum((2, 3), keepdim=True) / reached
    first = state.moments.setdefault(f"first.{name}", torch.zeros_like(value))
    second = state.moments.setdefault(f"second.{name}", torch.zeros_like(squared))
    count = state.moments.setdefault(f"count.{name}", torch.zeros(()))
    count += 1
    first.lerp_(gradient, 0.1)
    second.lerp_(squared, 0.01)
    corrected = second / (1 - 0.99 ** float(count))
    value -= rate / (1 - 0.9 ** float(count)) * first / (corrected.sqrt() + 1e-8)


def _loss(reader: FrameReader, inputs: RenderInputs, state: FitState, bank: Bank) -> torch.Tensor:
    renderer = reader.renderer
    drawn = draw_trainable(renderer, Look(state.texture, bank), inputs, with_delta(renderer, state.delta))
    return renderer_loss(drawn, inputs)["total"] + FEATURE_WEIGHT * mouth_error(reader.features, drawn[0], inputs)


def held_out_loss(reader: FrameReader, state: FitState) -> float:
    """Mean loss over held-out frames, without noise."""
    losses = []
    with torch.no_grad():
        for number, clip in enumerate(reader.clips):
            every = max(1, math.ceil(len(clip.held_out) * len(reader.clips) / MOST_JUDGED))
            losses += [
                float(_loss(reader, reader.read(number, row), state, reader.bank(number, row)))
                for row in clip.held_out[::every].tolist()
            ]
    return sum(losses) / max(len(losses), 1)
