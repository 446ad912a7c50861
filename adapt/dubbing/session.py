"""Session: one shot and all that is asked of it; requests become parts that can be drawn.

The shot is analysed once, whoever is dubbed in it; a sound is read once. Mistakes are looked for in the order
of the time that takes: sounds and bundles (`refuse`), then people (`parts`).
"""

import shlex
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from adapt.actor.bundle import ActorBundle, FitFacts
from adapt.actor.misfit import refuse_misfit
from adapt.cache import Found
from adapt.cast.analyse import Analysis, choose_person
from adapt.cast.kept import kept_analysis
from adapt.cast.resemblance import DIFFERENT, DOUBTFUL, describe, log_odds
from adapt.device import arithmetic
from adapt.dubbing.options import DubOptions
from adapt.dubbing.part import Part, Request
from adapt.dubbing.quality import pose_coverage
from adapt.dubbing.weights import LEAST_TO_DUB
from adapt.fitting.cache import cached_fit
from adapt.fitting.fit import fit
from adapt.fitting.options import FitOptions
from adapt.fitting.state import Checkpoint
from adapt.fitting.style import mouth_facts, own_sound, style_of_footage
from adapt.motion.controls import Cue, Intensity, Weights
from adapt.motion.direction import Direction, keys_heard, placed_marks, placed_motion, speaker_of
from adapt.motion.emotion import Emotion
from adapt.motion.keys import Key, read_keys
from adapt.motion.other_style import parse_style
from adapt.motion.placement import Placement
from adapt.motion.shot_style import ShotStyle, doubts, judged_frames, style_in_shot
from adapt.motion.sources import Driven, Sound, TrackFile
from adapt.motion.words import parse_emotion
from adapt.progress import SILENT, Progress
from adapt.tracking.crop import read_crops
from adapt.tracking.kept import kept_track
from adapt.tracking.nearer_heads import nearer_heads
from prior.motion.model import MotionModel, load_motion_model, shipped_motion_model
from prior.renderer.prior import RendererPrior, load_renderer_prior
from prior.speech.sound import SAMPLE_RATE
from render.drawing.crop import CROP_SIZE
from render.errors import DubError
from render.head.track import Track
from render.video.reader import Footage

#: Confident frames of so many seconds, and at least so many, are those among which an actor is compared with a bundle.
COMPARED_SECONDS, LEAST_COMPARED = 2.0, 8
#: What is looked at on either side of the part that is dubbed, seconds: a track and a fit are surer for it.
CONTEXT_SECONDS = 2.0


class Session:
    """Finds people, their bundles and their motion for one shot.

    Args:
        footage: the shot.
        options: how it is dubbed.
        prior: renderer prior; default the shipped one.
        advice: how person 1 of several is chosen, for messages.
        progress: where bars and notes go.

    Attributes:
        motion_model: audio to motion.
        notes: remarks made on the way, for the report.
        found: where what is found in the footage is kept.
        people_are_numbered: whether a request names its person by number.
    """

    def __init__(
        self,
        footage: Footage,
        options: DubOptions = DubOptions(),
        prior: RendererPrior | None = None,
        advice: str = "person=1",
        progress: Progress = SILENT,
    ) -> None:
        self.footage = footage
        self.options = options
        self.prior = prior or load_renderer_prior()
        self.advice = advice
        self.progress = progress
        self.notes: list[str] = []
        own = options.motion_model
        self.motion_model: MotionModel = load_motion_model(own) if own else shipped_motion_model()
        self.placement = Placement(options.part, options.audio_offset, options.on_mismatch)
        self.direction = Direction(options.mouth, options.region, _of_whole_shot(options), options.cues)
        self.found = Found.of_user(options.keep_found)
        self.people_are_numbered = False

    @cached_property
    def analysis(self) -> Analysis:
        """Shots, faces and cast of the footage, or of the stretch that matters."""
        return kept_analysis(self.footage, self.found, self.progress, self.stretch)

    @cached_property
    def stretch(self) -> tuple[int, int] | None:
        """Frames start ≤ index < stop that are looked at: the part with what lies around it; None for all.

        Where a person is named by number, all are looked at: people are numbered by the whole video.
        """
        if self.options.part is None or self.people_are_numbered:
            return None
        rows = np.flatnonzero(self.inside)
        times, ends = self.footage.timestamps, self.footage.ends
        start = int(np.searchsorted(ends, times[rows[0]] - CONTEXT_SECONDS, "right"))
        stop = int(np.searchsorted(times, ends[rows[-1]] + CONTEXT_SECONDS))
        return None if stop - start == self.footage.frame_count else (start, stop)

    @cached_property
    def inside(self) -> np.ndarray:
        """Frames that are to be dubbed, bool [T]; raises `DubError` where there is none."""
        return self.placement.inside(self.footage.timestamps, self.footage.ends, str(self.footage.path))

    @property
    def seconds(self) -> float:
        """How long what is to be dubbed is."""
        return self.placement.seconds(self.footage.timestamps, self.footage.ends, self.inside)

    def note(self, text: str) -> None:
        """Tell now, and again in the report."""
        self.progress.note(text)
        self.notes.append(text)

    def refuse(self, requests: Sequence[Request]) -> list[ActorBundle | None]:
        """Check the requests before anything long is begun; returns the requests' bundles.

        Raises:
            DubError, FootageError, StoreError: a part without frames, a sound that is silent or of another length, a
                file or a bundle that cannot be read, a consent that has expired.
            ConfigError, OSError: a cue file that means nothing or cannot be read.
        """
        seconds = self.seconds
        self.direction.read()
        for driver in (request.driver for request in requests):
            driver.read()
            for text in driver.notes:
                if text not in self.notes:
                    self.note(text)
            if isinstance(driver, Sound):
                self.placement.refuse_length(len(driver.waveform) / SAMPLE_RATE, seconds, str(driver.path))
            if isinstance(driver, TrackFile):
                driver.track_for(self.prior.model)
        return [None if one.actor is None else self._loaded(one.actor) for one in requests]

    def _loaded(self, path: Path) -> ActorBundle:
        """A bundle, whose consent must be valid still."""
        bundle = ActorBundle.load(path, self.prior.sha256)
        refuse_misfit(bundle, path, self.prior)
        consent = bundle.facts.consent
        expired = consent.refuse_expired(path.name, self.options.anyway) if consent else None
        if expired and expired not in self.notes:  # bundles are looked at twice
            self.note(expired)
        return bundle

    def parts(self, requests: Sequence[Request]) -> list[Part]:
        """A part for each request.

        Raises:
            As `refuse`, and TrackingError, FitError, DubError: no such person, or nothing can be made of the person.
        """
        bundles = self.refuse(requests)
        tracks = self.tracks(requests)
        return [self._part(*item) for item in zip(requests, tracks, bundles, strict=True)]

    def tracks(self, requests: Sequence[Request]) -> list[tuple[int, Track]]:
        """Who is meant by each request, by cast number, and their track.

        Raises:
            TrackingError, DubError: there is no such person, or one is meant twice.
        """
        numbered = any(request.person is not None for request in requests)
        self.people_are_numbered = numbered or bool(self.direction.cues.people)
        people = [choose_person(self.analysis, request.person, self.advice) for request in requests]
        if len(set(people)) < len(people):
            named = ", ".join(map(str, people))
            raise DubError(f"people {named}: the same person is named twice; use --face ACTOR@PERSON=AUDIO")
        self.direction.refuse_others(people)
        return [(person, kept_track(self.analysis, person, self.found, self.stretch)) for person in people]

    def _part(self, request: Request, tracked: tuple[int, Track], bundle: ActorBundle | None) -> Part:
        person, track = tracked
        if bundle is None:
            bundle = self._fitted(track, person)
        else:
            self._compare(bundle, track, Path(str(request.actor)).name)
        inside = torch.from_numpy(self.inside)
        driven, told = self._driven(request, track, bundle)
        expression, has_motion = self._placed(request, driven)
        moved = self.direction.expression(expression, request.driver, driven, self.placement, inside)
        part = Part(
            bundle,
            track,
            moved,
            has_motion & inside,
            self.prior,
            nearer_heads(self.analysis, person),
            inside,
            told,
            self.direction.regions(person, track.timestamps - track.timestamps[0]),
            self.direction.of_person(person),
        )
        if coverage := pose_coverage(part):
            self.note(f"person {person}: {coverage}")
        return part

    def _driven(self, request: Request, track: Track, bundle: ActorBundle) -> tuple[Driven, str]:
        """Who is driven, and what the style of the mouth was measured on."""
        known = self._style(bundle, track, torch.from_numpy(self.inside), request)
        driven = Driven(bundle, track, known.style, self.prior.model, self.motion_model, self.progress, self.found)
        return driven, known.told

    def _placed(self, request: Request, driven: Driven) -> tuple[torch.Tensor, torch.Tensor]:
        """The motion on the frames of the shot: expression [T, E], and where it is known, bool [T]."""
        motion, style = request.driver.motion(driven), driven.style
        if request.driver.lies_on_frames:
            return motion.lower_expression, motion.confidence > 0
        inside = torch.from_numpy(self.inside)
        return self.placement.placed(motion, driven.track, inside, self.seconds, style.closed)

    def keys(self, request: Request) -> list[Key]:
        """Keys of what a sound has somebody's mouth do in the shot, with nothing asked of it; nobody is fitted for it.

        Raises:
            As `tracks` and `refuse`.
        """
        (bundle,), ((_, track),) = self.refuse([request]), self.tracks([request])
        driver, inside = request.driver, torch.from_numpy(self.inside)
        if not isinstance(driver, Sound):
            raise DubError("keys are of what is heard: give a sound")
        if bundle is None:  # a fit learns the same of the mouth
            heard = style_of_footage(self.prior.model, [self.footage], [track])
            style, facts = {} if heard is None else heard.style.tensors, FitFacts(mouth=mouth_facts(heard))
            bundle = ActorBundle("unfitted", torch.zeros(0), {}, style, self.prior.sha256, [], {}, facts)
        driven, _ = self._driven(request, track, bundle)
        expression, _ = self._placed(request, driven)
        marks = placed_marks(expression, driver, driven, self.placement, inside)
        begins = self.placement.offset_seconds + (self.placement.part or (0.0, 0.0))[0]
        return keys_heard(placed_motion(expression, marks, driven), driver.waveform, begins, speaker_of(driven))

    def _style(self, bundle: ActorBundle, track: Track, inside: torch.Tensor, request: Request) -> ShotStyle:
        """The style of the mouth; a bundle that was fitted from the shot knows all of it already.

        Where a sound drives, reasons to doubt the motion that it gives are noted.
        """
        driver, spared = request.driver, torch.ones_like(inside)
        own, judged = None, torch.zeros_like(inside)
        if isinstance(driver, Sound):
            own = own_sound(self.footage)
            if own is not None:
                judged = judged_frames(self.footage, inside, track.timestamps, driver.waveform, own)
            spared = spared if request.actor is None else judged
        known = style_in_shot(bundle, self.footage, track, spared, self.prior.model, self.motion_model, own)
        if isinstance(driver, Sound):
            shown = replace(track.motion(), confidence=track.confidence * inside)
            for text in doubts(self.motion_model, known.style, shown, own if bool(judged.any()) else None):
                self.note(f"person {track.source['person']}: {text}")
        return known

    def _fitted(self, track: Track, person: int) -> ActorBundle:
        """The person, fitted from the shot, now or earlier."""
        options, path = self.options, self.footage.path
        fitting = FitOptions(
            person=person,
            steps=options.fit_steps,
            minutes=options.fit_minutes,
            seed=options.seed,
            device=options.device,
            progressive=options.progressive,
        )
        key = {
            "footage": self.footage.sha256,
            "person": person,
            "stretch": self.stretch,
            "steps": fitting.steps,
            "minutes": fitting.minutes,
            "seed": fitting.seed,
            **arithmetic(fitting.device),
        }

        def make(checkpoint: Checkpoint | None) -> ActorBundle:
            self.progress.note(f"person {person}: no bundle given, fitting from the shot itself")
            name = f"person {person} of {path.name}"
            return fit(
                [path], name, fitting, tracks=[track], checkpoint=checkpoint, prior=self.prior, progress=self.progress
            ).bundle

        def note(text: str) -> None:
            self.note(f"person {person}: {text}")

        return cached_fit(key, self.prior.sha256, make, note, options.fit_cache, options.keep_fits)

    def _compare(self, bundle: ActorBundle, track: Track, name: str) -> None:
        """Refuse a bundle that is clearly of somebody else than the person in the shot, and tell where it may be."""
        rows = (track.confidence >= LEAST_TO_DUB).nonzero()[:, 0]
        if not bundle.appearance or not len(rows):
            return
        near = int((track.timestamps[rows] < track.timestamps[rows[0]] + COMPARED_SECONDS).sum())
        rows = rows[: max(near, LEAST_COMPARED)]
        rows = rows[:: max(1, len(rows) // LEAST_COMPARED)]
        small = track.with_crop_size(CROP_SIZE)
        crops = read_crops(self.footage, small, rows.tolist())
        odds = log_odds(bundle.appearance, describe(self.prior.model, small, rows, crops))
        person = track.source["person"]
        if odds < DIFFERENT and not self.options.anyway:
            raise DubError(
                f"{name}: does not look like person {person} of {self.footage.path.name} (log-odds {odds:.1f}); see "
                f"`adapt check {shlex.quote(str(self.footage.path))}` and choose with --person, or pass --anyway"
            )
        if odds < DOUBTFUL:
            self.note(f"{name} may be of somebody else than person {person} (log-odds {odds:.1f})")


def _of_whole_shot(options: DubOptions) -> tuple[Cue, ...]:
    """What options ask of the whole shot; raises `ConfigError` and `OSError` of a table of keys."""
    cues = []
    if options.style:
        style = parse_style(options.style)
        cues.append(Cue(style, told=style.told))
    word, strength = parse_emotion(options.emotion)
    if strength:
        emotion = Emotion(word, strength)
        cues.append(Cue(emotion, told=emotion.told))
    if options.keys:
        cues.append(Cue(read_keys(options.keys), told=f"keys {options.keys.name}"))
    if options.intensity != 1:
        cues.append(Cue(Intensity(options.intensity), told=f"intensity {options.intensity:g}"))
    if (options.lips, options.jaw) != (1, 1):
        told = f"weights lips={options.lips:g} jaw={options.jaw:g}"
        cues.append(Cue(Weights(options.lips, options.jaw), told=told))
    return tuple(cues)
