"""Options of a dub: the one home of its defaults. Light to import: the flags read them."""

import math
from dataclasses import dataclass, field, replace
from pathlib import Path

from adapt.config import FILE, NAMES, meant, refuse_below, refuse_seed
from adapt.fitting.options import FitOptions
from adapt.motion.words import FACTORS, MISMATCH, NEUTRAL, WEIGHTED, parse_emotion, refuse_factor
from render.compositing.region import DEFAULT_REGION, REGIONS
from render.errors import ConfigError
from render.video.encoding import CODECS, QUALITIES, Encoding

#: What a draft allows: optimiser steps of a fit, and the encoder's quality. Frames and masks are the same.
DRAFT_FIT_STEPS, DRAFT_QUALITY = 80, "draft"
#: What is delivered, where no file is named: the source's own sound, the sum of all that drive, or the source's sound
#: with what drives in place of it where the shot is dubbed.
SOURCE, MIX, INSERT = "source", "mix", "insert"
#: The sidecar, by which a folder is known as a dub.
RUN = "run.json"

LONGEST_OFFSET_SECONDS = 86_400.0


@dataclass(frozen=True)
class DubOptions:
    """How a dub is made and written.

    Attributes:
        part: (start, end) seconds of the shot to dub; None for all of it. What drives starts with it.
        mouth: factor on every movement of the mouth; this and other factors lie in `adapt.motion.words.FACTORS`.
        intensity: factor on movement about the actor's mean of talking; lips still meet.
        lips, jaw: factors on movement of the lips, and of cheeks and jaw.
        style: clip, actor bundle or track whose style of talking is taken over, with `:WEIGHT` in part.
        emotion: neutral, or one of `adapt.motion.words.EMOTIONS`, with `:STRENGTH` in part.
        keys: an edited table of keys (`adapt.motion.keys`) of the one person who is dubbed.
        cues: a cue file (`adapt.motion.cues`), with controls by range and person.
        audio_offset: seconds by which the driving sound starts later.
        on_mismatch: what happens where lengths differ: error, trim, pad or hold (`adapt.motion.placement.motion_at`).
        deliver: sound of the result: "source", "mix" (of all that drive), "insert" (the source's own, in which what
            drives is heard where it drives), or a file that starts with the shot; None for what drives, with `part`
            for "insert".
        region: which part of the new face is put back: lips, mouth or lower-face.
        occluders: look for what lies in front of the mouth, and keep it there.
        codec: h264, h265, ffv1 or prores; None for the source's family, else the nearest.
        quality: draft, standard or final.
        grain: put the source's own grain onto drawn pixels.
        fit_steps: optimiser steps for a cast member without a bundle.
        fit_minutes: stop such a fit after so many minutes; None for never.
        keep_fits: keep such fits, and use those that were kept.
        fit_cache: folder where they are kept; None for the user's cache folder.
        keep_found: keep faces, tracks and what lies in front of mouths, and use what was kept of the same video.
        resume: say so where no interrupted dub of the same is there to go on from; where one is, it goes on anyway.
        motion_model: audio-to-motion weights; None for the shipped ones.
        progressive: see `Footage`.
        overwrite: replace the folder of an earlier dub.
        anyway: dub even where a bundle does not look like the person in the shot, or its consent has expired.
        device: where the network runs, such as cpu or cuda.
        seed: of grain and of fits.
        batch: frames held at once; does not change the result. None for twice the network's own.

    Raises:
        ConfigError: a word or a number that means nothing.
    """

    part: tuple[float, float] | None = None
    mouth: float = 1.0
    intensity: float = 1.0
    lips: float = 1.0
    jaw: float = 1.0
    style: str | None = field(default=None, metadata={NAMES: FILE})
    emotion: str = NEUTRAL
    keys: Path | None = None
    cues: Path | None = None
    audio_offset: float = 0.0
    on_mismatch: str = "error"
    deliver: str | None = field(default=None, metadata={NAMES: FILE})
    region: str = DEFAULT_REGION
    occluders: bool = True
    codec: str | None = None
    quality: str = Encoding.quality
    grain: bool = False
    fit_steps: int = FitOptions.steps
    fit_minutes: float | None = None
    keep_fits: bool = True
    fit_cache: Path | None = None
    keep_found: bool = True
    resume: bool = False
    motion_model: Path | None = None
    progressive: bool = False
    overwrite: bool = False
    anyway: bool = False
    device: str = FitOptions.device
    seed: int = 0
    batch: int | None = None

    def __post_init__(self) -> None:
        for name, choices in (
            ("region", REGIONS),
            ("on_mismatch", MISMATCH),
            ("quality", QUALITIES),
            ("codec", (None, *CODECS)),
        ):
            if getattr(self, name) not in choices:
                words = [word for word in choices if word]
                near = meant(str(getattr(self, name)), words)
                hint = f"; did you mean {near}?" if near else ""
                flag = f"--{name.replace('_', '-')} {getattr(self, name)}"
                raise ConfigError(f"{flag}: choose one of {', '.join(words)}{hint}")
        if not abs(self.audio_offset) <= LONGEST_OFFSET_SECONDS:
            raise ConfigError(f"--audio-offset {self.audio_offset}: give a finite number of seconds, at most a day")
        for name in FACTORS:
            refuse_factor(name, getattr(self, name), f"--weights {name}" if name in WEIGHTED else None)
        parse_emotion(self.emotion)
        if not math.isfinite(self.audio_offset):
            raise ConfigError(f"--audio-offset {self.audio_offset:g}: give a finite number of seconds")
        if self.part is not None and not (0 <= self.part[0] < self.part[1] < math.inf):
            start, end = self.part
            raise ConfigError(f"--range {start:g}-{end:g}: give START-END in seconds, both finite, such as 2.5-6")
        refuse_seed(self.seed)
        refuse_below("--fit-steps", self.fit_steps, 0)
        refuse_below("--fit-minutes", self.fit_minutes, 0)

    def drafted(self) -> "DubOptions":
        """The same for a quick look: every frame, but short fits, draft encoding, no grain."""
        steps = min(self.fit_steps, DRAFT_FIT_STEPS)
        return replace(self, quality=DRAFT_QUALITY, grain=False, fit_steps=steps)
