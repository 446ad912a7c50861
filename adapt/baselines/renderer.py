"""The methods that a comparison knows by name; each is `(enrollment, query) -> frames`, see `adapt.baselines.contract`.

`real` is the control that sees what is withheld, so the comparison itself puts it in. All others get no more than the
contract gives. What a method learns from an enrollment is kept and serves every lane.
"""

import time
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from adapt.actor.renderer import adapted_renderer
from adapt.baselines.contract import ADAPT, FROZEN, NEAREST, PRIOR, SCRATCH, CompareMethod, Enrollment, Query, motion_of
from adapt.baselines.scratch import blank_renderer, from_scratch
from adapt.baselines.transplant import frames_of, frozen_mouth, nearest_mouth
from adapt.cache import Cache, code_sha256, content_key
from adapt.fitting.clip import FitClip, first_look
from adapt.fitting.fit import without_occluders
from adapt.fitting.frame_choice import choose_enrollment
from adapt.fitting.optimiser import optimise
from adapt.fitting.options import FitOptions
from prior.motion.model import WEIGHTS as MOTION
from prior.motion.model import MotionModel, load_motion_model
from prior.renderer.prior import RendererPrior, load_renderer_prior
from prior.speech.phonetics import WEIGHTS as PHONETICS
from render.drawing.look import Bank, Look
from render.drawing.renderer import Renderer, RenderInputs, draw, fast_renderer, render_inputs
from render.store import file_sha256, load_tensors, save_tensors

SPEECH = "speech"
FITTED, FITTED_VERSION = "adapt-compare-fit", 2
#: Names of a bank's tensors in such a file begin so; those of a renderer never do.
BANKED = "look."


@dataclass(frozen=True)
class LearntActor:
    """What was learnt from one enrollment: a renderer, ready to draw, a look, facts of the learning."""

    renderer: Renderer
    look: Look
    facts: dict[str, Any]


class RendererMethods:
    """The methods that draw with the renderer, and the cheap ones that copy; all follow the same motion.

    Args:
        cache: where fits are kept.
        steps: optimiser steps of the fit.
        prior: renderer prior; default the shipped one.
        speech: audio-to-motion model; default the shipped one.
    """

    def __init__(
        self, cache: Cache, steps: int, prior: RendererPrior | None = None, speech: MotionModel | None = None
    ) -> None:
        self.cache = cache
        self.steps = steps
        self.prior = prior or load_renderer_prior()
        self.speech = speech or load_motion_model()
        # Methods and lanes ask for the same things one after the other: what is made of one enrollment is kept, by its
        # key, until another comes; the inputs of one query, which is the same object for methods in a row, likewise.
        self._enrollment_key = ""
        self._kept_clip: FitClip | None = None
        self._kept_learnt: dict[str, LearntActor] = {}
        self._kept_inputs: tuple[str, Query, RenderInputs] | None = None

    def methods(self) -> dict[str, CompareMethod]:
        """All of them, by name."""
        speech = [file_sha256(MOTION), file_sha256(PHONETICS), code_sha256("adapt.baselines.contract")]
        copied = {SPEECH: speech, "code": code_sha256("adapt.baselines.transplant")}
        drawn = {SPEECH: speech, "code": code_sha256("adapt.baselines.renderer"), "prior": self.prior.sha256}
        learnt = {**drawn, "steps": self.steps}
        named = [CompareMethod(FROZEN, self.frozen, copied), CompareMethod(NEAREST, self.nearest, copied)]
        for name, facts in ((PRIOR, drawn), (ADAPT, learnt), (SCRATCH, learnt)):
            facts_of = partial(self._facts, name)
            named.append(CompareMethod(name, partial(self.drawn, name), facts, learnt=facts_of))
        return {method.name: method for method in named}

    def frozen(self, enrollment: Enrollment, query: Query) -> torch.Tensor:
        """The enrollment's most closed mouth throughout."""
        rows = torch.arange(len(query))
        return frozen_mouth(self.prior.model, frames_of(enrollment), query.track, rows, query.crops, query.erased)

    def nearest(self, enrollment: Enrollment, query: Query) -> torch.Tensor:
        """The enrollment's mouth that is nearest to the motion, at the query's head pose."""
        moved = query.track.with_motion(motion_of(self.prior.model, self.speech, enrollment, query))
        rows = torch.arange(len(query))
        return nearest_mouth(self.prior.model, frames_of(enrollment), moved, rows, query.crops, query.erased)

    def drawn(self, name: str, enrollment: Enrollment, query: Query) -> torch.Tensor:
        """What the renderer draws after one of the ways of learning."""
        learnt, inputs = self._learnt(name, enrollment), self._inputs(enrollment, query)
        return torch.where(query.erased > 0, draw(learnt.renderer, learnt.look, inputs).rgb, query.crops)

    def _facts(self, name: str, enrollment: Enrollment) -> dict[str, Any]:
        return self._learnt(name, enrollment).facts

    def _turn_to(self, enrollment: Enrollment) -> None:
        """Forget what was made of another enrollment."""
        if enrollment.key != self._enrollment_key:
            self._enrollment_key, self._kept_clip = enrollment.key, None
            self._kept_learnt.clear()

    def _learnt(self, name: str, enrollment: Enrollment) -> LearntActor:
        self._turn_to(enrollment)
        if name not in self._kept_learnt:
            learn = {PRIOR: self._unadapted, ADAPT: self._fitted, SCRATCH: self._from_scratch}[name]
            self._kept_learnt[name] = learn(enrollment)
        return self._kept_learnt[name]

    def _clip(self, enrollment: Enrollment) -> FitClip:
        self._turn_to(enrollment)
        if self._kept_clip is None:
            self._kept_clip = self._make_clip(enrollment)
        return self._kept_clip

    def _inputs(self, enrollment: Enrollment, query: Query) -> RenderInputs:
        kept = self._kept_inputs
        if kept is None or kept[0] != enrollment.key or kept[1] is not query:
            kept = self._kept_inputs = (enrollment.key, query, self._make_inputs(enrollment, query))
        return kept[2]

    def _make_inputs(self, enrollment: Enrollment, query: Query) -> RenderInputs:
        motion = motion_of(self.prior.model, self.speech, enrollment, query)
        moved, rows = query.track.with_motion(motion), torch.arange(len(query))
        return render_inputs(self.prior.model, moved, rows, query.crops, self.prior.erasing_expressions)

    def _make_clip(self, enrollment: Enrollment) -> FitClip:
        """The enrollment as `adapt fit` reads footage; raises `FitError` where it would."""
        chosen = choose_enrollment(self.prior.model, [enrollment.track], ["the enrollment"])
        rows = torch.arange(len(enrollment))
        clip = FitClip(enrollment.track, rows, enrollment.crops, chosen.learn[0], chosen.held_out[0])
        return without_occluders(self.prior, clip)

    def _unadapted(self, enrollment: Enrollment) -> LearntActor:
        first = first_look(self.prior, [self._clip(enrollment)])
        return LearntActor(fast_renderer(self.prior.renderer), first.look, {})

    def _fitted(self, enrollment: Enrollment) -> LearntActor:
        key = content_key(
            [enrollment.key, ADAPT, self.steps, self.prior.sha256, code_sha256("adapt.baselines.renderer")]
        )
        file = self.cache.path("fits", key, ".safetensors")
        if not file.is_file():
            clip = self._clip(enrollment)
            first = first_look(self.prior, [clip])
            started = time.process_time()
            state = optimise(self.prior, [clip], first, FitOptions(steps=self.steps))
            facts = {
                "steps": state.step,
                "processor_seconds": round(time.process_time() - started, 2),
                "adapted": bool(state.best),
            }
            tensors = {"texture": first.look.texture, **state.best}
            save_tensors(file, FITTED, FITTED_VERSION, tensors | _banked(first.look), facts)
        tensors, facts = load_tensors(file, FITTED, FITTED_VERSION)
        look = _look_of(tensors)
        return LearntActor(adapted_renderer(self.prior, tensors), look, facts)

    def _from_scratch(self, enrollment: Enrollment) -> LearntActor:
        """For as long (processor time) as the fit took."""
        budget = self._learnt(ADAPT, enrollment).facts["processor_seconds"]
        key = content_key([enrollment.key, SCRATCH, budget, self.prior.sha256, code_sha256("adapt.baselines.renderer")])
        file = self.cache.path("fits", key, ".safetensors")
        renderer = blank_renderer(self.prior)
        if not file.is_file():
            look, steps = from_scratch(self.prior, renderer, self._clip(enrollment), budget)
            facts = {"steps": steps, "processor_seconds": budget}
            tensors = {name: value.half() for name, value in renderer.state_dict().items()}
            save_tensors(file, FITTED, FITTED_VERSION, {"texture": look.texture, **tensors} | _banked(look), facts)
        tensors, facts = load_tensors(file, FITTED, FITTED_VERSION)
        look = _look_of(tensors)
        renderer.load_state_dict(tensors)
        return LearntActor(fast_renderer(renderer), look, facts)


def _banked(look: Look) -> dict[str, torch.Tensor]:
    """The bank of a look as tensors of a file."""
    return {BANKED + name: value for name, value in look.bank.stored().items()}


def _look_of(tensors: dict[str, torch.Tensor]) -> Look:
    """The look among the tensors of a file, taken out of them."""
    stored = {name.removeprefix(BANKED): tensors.pop(name) for name in list(tensors) if name.startswith(BANKED)}
    return Look(tensors.pop("texture"), Bank.of_stored(stored))
