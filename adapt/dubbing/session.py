"""`adapt dub` on the command line: settings → parts → a folder with the dubbed video, report, sidecar and sheet.

What can be wrong is looked for in the order of what it costs to find: settings, output, sounds, bundles, then people.
"""

import shlex
from pathlib import Path

import numpy as np
import torch

from adapt.actor.bundle import ActorBundle
from adapt.cast.analyse import Analysis, analyse, choose_person
from adapt.cast.resemblance import DIFFERENT, DOUBTFUL, describe, log_odds
from adapt.commands.flags import DubConfig
from adapt.config import command_line, parse_range
from adapt.dubbing.options import DRAFT_FIT_STEPS
from adapt.dubbing.part import Part
from adapt.dubbing.request import Request
from adapt.dubbing.weights import CONFIDENT
from adapt.fitting.cache import cached_fit
from adapt.fitting.fit import fit
from adapt.motion.controls import scale_mouth
from adapt.motion.placement import SILENCE, TOLERANCE_SECONDS, length_seconds, motion_at
from adapt.motion.sources import read_sound, style_of, video_motion
from adapt.progress import Progress
from adapt.tracking.crop import read_crops
from adapt.tracking.track import track_person
from prior.motion.model import load_motion_model, shipped_motion_model
from prior.motion.style import MouthStyle
from prior.renderer.prior import RendererPrior
from prior.speech.phonemes import LABEL_RATE
from prior.speech.sound import SAMPLE_RATE
from render.drawing.crop import CROP_SIZE
from render.errors import DubError
from render.head.motion import Motion
from render.head.track import Track
from render.video.footage import Footage

#: Confident frames among which an actor is compared with a bundle.
COMPARED_FRAMES = 48


class Casting:
    """Finds people, their bundles and their motion for one shot.

    Args:
        config: the settings.
        footage: the shot.
        prior: renderer prior.
        progress: where bars and notes go.
    """

    def __init__(self, config: DubConfig, footage: Footage, prior: RendererPrior, progress: Progress) -> None:
        self.config = config
        self.footage = footage
        self.prior = prior
        self.progress = progress
        self.notes: list[str] = []
        own = config.motion_model
        self.motion_model = load_motion_model(Path(own)) if own else shipped_motion_model()

    def parts(self, requests: list[Request]) -> list[Part]:
        """A part for each request."""
        sounds = [None if request.sound is None else read_sound(request.sound) for request in requests]
        for request, sound in zip(requests, sounds, strict=True):
            self._refuse_length(request, sound)
        sha256 = self.prior.facts["sha256"]
        bundles = [None if one.actor is None else ActorBundle.load(one.actor, sha256) for one in requests]
        analysis = analyse(self.footage, progress=self.progress)
        people = [self._person(analysis, request.person) for request in requests]
        if len(set(people)) < len(people):
            named = ", ".join(map(str, people))
            raise DubError(f"people {named}: the same person is named twice; use --face ACTOR@PERSON=AUDIO")
        found = zip(requests, people, bundles, sounds, strict=True)
        return [self._part(request, analysis, person, bundle, sound) for request, person, bundle, sound in found]

    def note(self, text: str) -> None:
        """Tell now, and again in the report."""
        self.progress.note(text)
        self.notes.append(text)

    def _person(self, analysis: Analysis, person: int | None) -> int:
        chosen = "--face ACTOR@1=AUDIO" if self.config.face else f"{command_line('dub', self.config)} --person 1"
        return choose_person(analysis, person, chosen)

    def _part(
        self, request: Request, analysis: Analysis, person: int, bundle: ActorBundle | None, sound: np.ndarray | None
    ) -> Part:
        track = track_person(analysis, person)
        if bundle is None:
            bundle = self._fitted(track, person)
        else:
            self._compare(bundle, track, str(request.actor))
        style = MouthStyle(**bundle.style) if bundle.style else style_of(track, self.prior)
        if request.drive == "source":
            expression, driven = track.lower_expression, track.confidence > 0
        elif request.drive == SILENCE:
            expression, driven = style.closed.expand(len(track), -1), torch.ones(len(track), dtype=torch.bool)
        else:
            if sound is not None:
                times = np.arange(int(len(sound) / SAMPLE_RATE * LABEL_RATE)) / LABEL_RATE
                motion = self.motion_model.predict(sound, times, style)
            else:
                motion = video_motion(str(request.drive), bundle, self.prior, self.progress)
            expression, driven = self._placed(motion, track, style)
        expression = scale_mouth(expression, style.closed, self.config.mouth)
        return Part(bundle, track, expression, driven & torch.from_numpy(self._in_range()))

    def _fitted(self, track: Track, person: int) -> ActorBundle:
        """The person, fitted from the shot, now or earlier."""
        config = self.config
        steps = min(config.fit_steps, DRAFT_FIT_STEPS) if config.draft else config.fit_steps
        minutes, seed, path = config.fit_minutes, config.seed, self.footage.path
        key = {"footage": self.footage.sha256, "person": person, "steps": steps, "minutes": minutes, "seed": seed}

        def make() -> ActorBundle:
            self.progress.note(f"person {person}: no bundle given, fitting from the shot itself")
            name = f"person {person} of {path.name}"
            return fit(
                [path], name, person, steps=steps, minutes=minutes, seed=seed, prior=self.prior,
                progress=self.progress, tracks=[track], device=config.device,
            ).bundle  # fmt: skip

        def note(text: str) -> None:
            self.note(f"person {person}: {text}")

        folder = None if config.fit_cache is None else Path(config.fit_cache)
        return cached_fit(key, self.prior.facts["sha256"], make, note, folder)

    def _compare(self, bundle: ActorBundle, track: Track, name: str) -> None:
        """Refuse a bundle that is clearly of somebody else than the person in the shot, and tell where it may be."""
        rows = (track.confidence >= CONFIDENT).nonzero()[:COMPARED_FRAMES, 0]
        if not bundle.appearance or not len(rows):
            return
        rows = rows[:: max(1, len(rows) // 8)]
        small = track.with_crop_size(CROP_SIZE)
        crops = read_crops(self.footage, small, rows.tolist())
        odds = log_odds(bundle.appearance, describe(self.prior.model, small, rows, crops))
        person = track.source["person"]
        if odds < DIFFERENT and not self.config.anyway:
            raise DubError(
                f"{name}: does not look like person {person} of {self.footage.path.name} (log-odds {odds:.1f}); see "
                f"`adapt check {shlex.quote(str(self.footage.path))}` and choose with --person, or pass --anyway"
            )
        if odds < DOUBTFUL:
            self.note(f"{name} may be of somebody else than person {person} (log-odds {odds:.1f})")

    def _in_range(self) -> np.ndarray:
        """Frames of the range, bool [T]; all of them where none is given."""
        time = self.footage.timestamps - self.footage.timestamps[0]
        part = parse_range(self.config.range)
        if part is None:
            return np.ones(len(time), bool)
        inside = (time >= part[0]) & (time < part[1])
        if not inside.any():
            name = self.footage.path
            raise DubError(f"--range {self.config.range}: no frame lies in it; {name} is {time[-1]:.2f} s long")
        return np.asarray(inside)

    def _refuse_length(self, request: Request, sound: np.ndarray | None) -> None:
        """Refuse a sound of another length before anything long is begun; motion is compared again, exactly."""
        inside = self._in_range()
        if sound is None or self.config.on_mismatch != "error":
            return
        shot = length_seconds(self.footage.timestamps[inside])
        seconds = len(sound) / SAMPLE_RATE + self.config.audio_offset
        if abs(seconds - shot) > 2 * TOLERANCE_SECONDS:
            raise DubError(
                f"{request.sound}: ends {abs(seconds - shot):.2f} s {'after' if seconds > shot else 'before'} the "
                f"{shot:.2f} s to be dubbed; pass --on-mismatch trim, pad or hold, or give the part with --range"
            )

    def _placed(self, motion: Motion, track: Track, style: MouthStyle) -> tuple[torch.Tensor, torch.Tensor]:
        """The motion on the frames of the range (of the whole shot if none is given); others keep the track's own."""
        rows = torch.from_numpy(np.flatnonzero(self._in_range()))
        begin = parse_range(self.config.range)
        # The sound starts with the range, the first frame in it a part of a frame later.
        late = float(track.timestamps[rows[0]] - track.timestamps[0]) - begin[0] if begin else 0.0
        expression, driven = track.lower_expression.clone(), torch.zeros(len(track), dtype=torch.bool)
        expression[rows], driven[rows] = motion_at(
            motion, track.timestamps[rows], style.closed, self.config.on_mismatch, self.config.audio_offset - late
        )
        return expression, driven
