"""The cells of a comparison: one method on one clip in one lane, drawn, scored and kept.

In: splits and methods. Out: `Comparison`, the lines of the score files and what to show. A cell is kept under a hash of
all that decides it and read from there the next time. A cell that fails is a `Problem`; the others go on.
"""

import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from adapt.baselines.contract import REAL, CompareMethod, Enrollment, Query, make_query, sound_of
from adapt.baselines.external import MethodError
from adapt.baselines.renderer import SPEECH
from adapt.cache import Cache, content_key
from adapt.comparison.report import ComparedClip
from adapt.comparison.scores import CellScores, Heard, Scorer, Truth
from adapt.comparison.sounds import LaneSound, driver_opening, shifted_sounds, speech_at
from adapt.comparison.split import Split
from adapt.comparison.table import ScoreTable
from adapt.reports.clip import encode_clip
from prior.renderer.prior import RendererPrior
from prior.speech.sound import SAMPLE_RATE, read_waveform, write_audio
from prior.speech.speech_track import speech_track
from render.drawing.erasure import erased_area
from render.errors import AdaptError
from render.store import file_sha256, write_atomic

#: Quality of the report's players (x264's scale): a page holds hundreds of them.
PLAYER_QUALITY = 24


class CompareError(AdaptError):
    """A comparison is empty, or incomplete where all was asked for."""


@dataclass(frozen=True)
class Problem:
    """Something that was left out, and why; parts that it does not concern are empty."""

    reason: str
    clip: str = ""
    lane: int | None = None
    method: str = ""

    def __str__(self) -> str:
        where = [word for word in (self.clip, f"lane {self.lane}" if self.lane else "", self.method) if word]
        return f"{', '.join(where)}: {self.reason}" if where else self.reason


@dataclass(frozen=True)
class Comparison:
    """What a comparison yields.

    Attributes:
        splits: what was compared.
        methods: by name, in the order of the tables.
        lines: of `scores.jsonl`.
        frames: of `frames.jsonl`.
        clips: drawn frames and sounds, for looking at.
        problems: what was left out.
    """

    splits: list[Split] = field(default_factory=list)
    methods: dict[str, CompareMethod] = field(default_factory=dict)
    lines: list[dict[str, Any]] = field(default_factory=list)
    frames: list[dict[str, Any]] = field(default_factory=list)
    clips: list[ComparedClip] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def table(self) -> ScoreTable:
        """The scores as tables."""
        return ScoreTable(self.lines, list(self.methods))


class Scene:
    """Pictures of one split, decoded when the first cell asks for them, and the queries made of them."""

    def __init__(self, split: Split, prior: RendererPrior, scorer: Scorer) -> None:
        self.split = split
        self.prior = prior
        self.scorer = scorer
        self._asked: tuple[LaneSound, Query] | None = None

    @cached_property
    def enrollment(self) -> Enrollment:
        """What methods may learn from."""
        return self.split.enrollment()

    @cached_property
    def truth(self) -> Truth:
        """What is withheld."""
        track = self.split.held_out.track
        crops = self.split.held_out.crops().float() / 255
        erased = erased_area(self.prior.model, track, self.prior.erasing_expressions)
        return self.scorer.truth(track, crops, erased, self.split.held_out.native())

    def query(self, lane: int, sound: LaneSound) -> Query:
        """What methods are given in a lane; made once for methods in a row."""
        if self._asked is None or self._asked[0] is not sound:
            track = self.split.held_out.track
            motion = track.lower_expression if lane == 1 else None
            query = make_query(track, self.truth.crops, self.truth.erased, motion, sound.waveform)
            self._asked = (sound, query)
        return self._asked[1]


def check_frames(drawn: torch.Tensor, truth: Truth) -> None:
    """Raises `MethodError` where a method gave something other than the frames it was asked for."""
    if drawn.shape != truth.crops.shape:
        raise MethodError(f"gave frames of shape {tuple(drawn.shape)}, asked for {tuple(truth.crops.shape)}")
    if not bool(drawn.isfinite().all()):
        raise MethodError("gave frames with values that are not finite")


class Runner:
    """Draws and scores the cells of a comparison: one method on one clip in one lane.

    Args:
        cache: where cells are kept.
        comparison: collects lines, frames, clips and problems.
        prior: renderer prior, whose fixed expressions say what is erased.
        sound: file that lane 3 is driven by, or None for the other people's.
    """

    def __init__(self, cache: Cache, comparison: Comparison, prior: RendererPrior, sound: Path | None) -> None:
        self.cache = cache
        self.prior = prior
        self.comparison = comparison
        self.sound = None if sound is None else speech_track(sound)
        self.erased = content_key(prior.erasing_expressions.tolist())
        self.voice = None if self.sound is None else read_waveform(self.sound, from_beginning=True)
        self.scorer = Scorer()
        comparison.problems.extend(Problem(reason) for reason in self.scorer.missing)

    def run(self, split: Split, lanes: Sequence[int]) -> Iterator[None]:
        """Do every cell of a split that is not kept already; yields after each."""
        scene = Scene(split, self.prior, self.scorer)
        for lane in lanes:
            try:
                sound = self.sound_of(split, lane)
            except AdaptError as error:
                self.comparison.problems.append(Problem(str(error), split.clip, lane))
                yield from [None] * len(self.comparison.methods)
                continue
            videos: dict[str, Path] = {}
            for method in self.comparison.methods.values():
                if not (method.needs_sound and sound.waveform is None):
                    videos |= self.do_cell(scene, lane, sound, method)
                yield
            self.show(split, lane, sound, videos)

    def sound_of(self, split: Split, lane: int) -> LaneSound:
        """What is heard in a lane.

        Raises:
            CompareError: the lane has no sound to be driven by.
        """
        track, own_waveform = split.held_out.track, split.held_out.waveform
        seconds = track.duration_seconds
        if lane == 4:
            silent = np.zeros(round(seconds * SAMPLE_RATE), np.float32)
            return LaneSound(silent, {"sound": None}, Heard(speech=torch.zeros(len(track), dtype=torch.bool)))
        if lane == 3 and self.sound is not None and self.voice is not None:
            waveform = sound_of(self.voice, 0.0, seconds)
            return LaneSound(
                waveform, {"sound": file_sha256(self.sound.path)}, Heard(waveform, speech_at(waveform, track))
            )
        if lane == 3:
            driver = self.driver_of(split)
            assert driver.held_out.waveform is not None
            waveform = sound_of(driver.held_out.waveform, 0.0, seconds)
            facts = {"sound": driver.held_out.facts, "driver": driver.clip}
            return LaneSound(
                waveform, facts, Heard(waveform, speech_at(waveform, track), driver_opening(driver, split))
            )
        if own_waveform is None and lane == 2:
            raise CompareError("no sound that belongs to the picture")
        if own_waveform is None:
            return LaneSound(None, {"sound": None})
        heard = Heard(own_waveform, speech_at(own_waveform, track)) if lane == 2 else Heard()
        return LaneSound(own_waveform, {"sound": split.held_out.facts}, heard)

    def driver_of(self, split: Split) -> Split:
        """The next split of another person that has sound."""
        start = self.comparison.splits.index(split)
        order = self.comparison.splits[start + 1 :] + self.comparison.splits[:start]
        for other in order:
            if other.person != split.person and other.held_out.take.speech:
                return other
        raise CompareError("no other person with sound among the footage; give --sound FILE")

    def do_cell(self, scene: Scene, lane: int, sound: LaneSound, method: CompareMethod) -> dict[str, Path]:
        """Draw and score one cell, or read it from the cache; returns its video by the method's name, if any."""
        split = scene.split
        # With the real motion given, how a method would hear sound does not matter.
        decides = {name: value for name, value in method.facts.items() if lane != 1 or name != SPEECH}
        facts = {"split": split.facts, "erased": self.erased, "lane": lane, **sound.facts}
        facts["method"] = [method.name, decides]
        key = content_key([facts, self.scorer.facts])
        cell = self.cache.read_json("cells", key)
        if cell is None:
            try:
                cell = self.draw_and_score(scene, lane, sound, method, key)
            except Exception as error:  # whatever a method does, the others go on
                reason = str(error) if isinstance(error, AdaptError) else f"{type(error).__name__}: {error}"
                self.cache.write_bytes("failures", key, ".txt", traceback.format_exc().encode())
                self.comparison.problems.append(Problem(reason, split.clip, lane, method.name))
                return {}
        self.keep(split, lane, sound, method, cell)
        return {method.name: self.cache.path("cells", key, ".mp4")}

    def show(self, split: Split, lane: int, sound: LaneSound, videos: dict[str, Path]) -> None:
        """Add a player of what was drawn."""
        sound_file = None
        if sound.waveform is not None and np.any(sound.waveform):
            waveform = sound.waveform
            sound_file = self.cache.path("sounds", content_key([split.facts, sound.facts]), ".ogg")
            if not sound_file.is_file():
                write_atomic(sound_file, lambda path: write_audio(waveform, path))
        if videos:
            seconds = (split.held_out.track.timestamps - split.held_out.track.timestamps[0]).tolist()
            self.comparison.clips.append(ComparedClip(split.clip, split.person, lane, seconds, videos, sound_file))

    def draw_and_score(
        self, scene: Scene, lane: int, sound: LaneSound, method: CompareMethod, key: str
    ) -> dict[str, Any]:
        """Do one cell and keep it."""
        truth = scene.truth
        learnt: dict[str, Any] = {}
        heard = sound.heard
        if method.name == REAL:
            drawn = truth.crops
            # Beside another's sound the real video stands with its own: what sync scores of real footage are.
            heard = replace(heard, waveform=scene.split.held_out.waveform) if lane == 3 else heard
        else:
            drawn = method.draw(scene.enrollment, scene.query(lane, sound)).float()
            learnt = method.learnt(scene.enrollment)
            check_frames(drawn, truth)
        scores: CellScores = self.scorer.score(drawn, truth, heard, lane)
        pictures = (drawn.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
        self.cache.write_bytes(
            "cells", key, ".mp4", encode_clip(pictures, truth.seconds.tolist(), quality=PLAYER_QUALITY)
        )
        trusted: dict[str, float] = {}
        if method.name == REAL and lane == 2:
            trusted = self.scorer.shifts_found(truth, shifted_sounds(scene.split))
        cell = {
            "scores": {**scores.clip, **trusted},
            "frames": scores.frames,
            "seconds": truth.seconds.tolist(),
            "learnt": learnt,
        }
        self.cache.write_json("cells", key, cell)
        return cell

    def keep(self, split: Split, lane: int, sound: LaneSound, method: CompareMethod, cell: dict[str, Any]) -> None:
        """Add a cell's lines to the comparison."""
        where = {"clip": split.clip, "person": split.person, "lane": lane, "method": method.name}
        facts = {"split": split.way, "short": split.is_short, "driver": sound.facts.get("driver")}
        self.comparison.lines.append({**where, **facts, "learnt": cell["learnt"], "scores": cell["scores"]})
        for row, (number, seconds) in enumerate(zip(split.held_out.rows.tolist(), cell["seconds"], strict=True)):
            values = {name: frames[row] for name, frames in cell["frames"].items()}
            self.comparison.frames.append({**where, "frame": number, "seconds": round(seconds, 4), **values})
