"""Scores of one method's frames in one lane, and which of them every lane is judged by.

In: drawn and true crops of one clip, the area that was erased, times, sound. Out: `CellScores`: a number a metric for
the clip, and a number a frame where the metric has one. Everything is measured on one canvas (256 px crops, lossless,
grain off), in one fixed mouth box and over the erased area. A metric that cannot be had is left out, never guessed.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch

from adapt.cache import code_sha256
from adapt.comparison.options import LANES
from adapt.metrics.mouth import landmark_distance, opening_ratio, opening_speed, silence_leak
from adapt.metrics.mouth_meter import MouthMeter
from adapt.metrics.perceptual import PerceptualMetrics, perceptual_metrics
from adapt.metrics.picture import (
    concordance,
    correlation,
    flicker_ratio,
    mouth_box_mask,
    native_texture_ratio,
    outside_error,
    psnr,
    seam_ratio,
    ssim,
    texture_ratio,
)
from adapt.metrics.seen_motion import seen_motion
from adapt.metrics.temporal import RealFlow, warping_ratio
from prior.face.model import load_face_model
from prior.face.points import opening
from prior.motion.sync import SHORTEST_SECONDS, SyncModel, SyncOffset, load_sync_model
from prior.motion.sync import WEIGHTS as SYNC
from render.errors import StoreError
from render.head.track import Track
from render.store import file_sha256

#: Lanes in which the true frames show what should be drawn.
WITH_TRUTH = (1, 2)
#: Frames of 1/25 s by which a real video's own sound is moved, and within which that must be found.
SHIFTS, SHIFT_TOLERANCE_FRAMES = (-8, -4, 0, 4, 8), 1
EVERY_LANE = tuple(LANES)


@dataclass(frozen=True)
class Metric:
    """One column of the tables.

    Attributes:
        key: in the files.
        label: in the tables.
        lanes: where it says something.
        best: "high", "low", "one" or "zero": where it should be.
        digits: after the point.
    """

    key: str
    label: str
    lanes: tuple[int, ...]
    best: str
    digits: int = 3

    def loss(self, value: float) -> float:
        """How far a value is from the best, the more the worse; for comparing two methods."""
        if self.best == "high":
            return -value
        if self.best == "one":
            return abs(math.log(max(value, 1e-6)))
        return abs(value) if self.best == "zero" else value


METRICS = (
    Metric("mouth_squeezenet", "mouth SN ↓", WITH_TRUTH, "low"),
    Metric("mouth_lpips", "mouth LPIPS ↓", WITH_TRUTH, "low"),
    Metric("mouth_dists", "mouth DISTS ↓", WITH_TRUTH, "low"),
    Metric("mouth_texture", "mouth texture → 1", EVERY_LANE, "one"),
    Metric("native_texture", "native texture → 1", (1,), "one"),
    Metric("mouth_psnr", "mouth PSNR ↑", WITH_TRUTH, "high", 2),
    Metric("mouth_ssim", "mouth SSIM ↑", WITH_TRUTH, "high"),
    Metric("opening", "opening → 1", WITH_TRUTH, "one"),
    Metric("ccc", "opening CCC ↑", WITH_TRUTH, "high"),
    Metric("landmark_distance", "lip landmarks (eye distances) ↓", WITH_TRUTH, "low", 4),
    Metric("driver_correlation", "correlation with the driver's opening ↑", (3,), "high"),
    Metric("silence_leak", "silence leak → 0", (4,), "zero"),
    Metric("articulation", "articulation → 1", (2, 3, 4), "one"),
    Metric("sync_lag", "sync lag (frames) → 0", (2, 3), "zero", 1),
    Metric("sync_confidence", "sync confidence ↑", (2, 3), "high"),
    Metric("mouth_flicker", "mouth flicker → 1", EVERY_LANE, "one"),
    Metric("mouth_warping", "mouth warping error → 1", WITH_TRUTH, "one"),
    Metric("erased_squeezenet", "erased SN ↓", WITH_TRUTH, "low"),
    Metric("erased_texture", "erased texture → 1", EVERY_LANE, "one"),
    Metric("erased_flicker", "erased flicker → 1", EVERY_LANE, "one"),
    Metric("seam", "seam → 1", EVERY_LANE, "one"),
    Metric("outside_error", "outside error → 0", EVERY_LANE, "zero"),
)


@dataclass(frozen=True, eq=False)
class Truth:
    """What drawn frames are measured against; T frames.

    Attributes:
        track: of the frames, a row each.
        crops: [T, 3, H, W] the true crops.
        erased: [T, 1, H, W] what was erased.
        landmarks: [T, 478, 2] of the true face, as the detector sees it.
        flow: of the true crops.
        native: the source's own pictures around the crops, and [T, 2, 3] from them to the crops; None: not asked for.
    """

    track: Track
    crops: torch.Tensor
    erased: torch.Tensor
    landmarks: torch.Tensor
    flow: RealFlow
    native: tuple[list[np.ndarray], torch.Tensor] | None = None

    @property
    def seconds(self) -> torch.Tensor:
        """Times of the frames from the first, float64 [T]."""
        return self.track.timestamps - self.track.timestamps[0]

    @property
    def opening(self) -> torch.Tensor:
        """Opening of the true mouth [T], eye distances."""
        return opening(self.landmarks)

    @property
    def speed(self) -> float:
        """Mean speed of the true mouth's opening, eye distances a second: the unit of movement."""
        return float(opening_speed(self.opening, self.seconds).mean())


@dataclass(frozen=True, eq=False)
class Heard:
    """What is known of the sound of a lane.

    Attributes:
        waveform: [N] at `SAMPLE_RATE`, time 0 at the first frame; None where nothing is heard.
        speech: [T] bool, where there is speech; None where that is not asked.
        driver_opening: [T] the true opening of the mouth whose sound it is; None where that is not known.
    """

    waveform: np.ndarray | None = None
    speech: torch.Tensor | None = None
    driver_opening: torch.Tensor | None = None


@dataclass(frozen=True)
class CellScores:
    """Scores of one method on one clip in one lane: a number for the clip, and a list with one a frame."""

    clip: dict[str, float]
    frames: dict[str, list[float | None]]


@dataclass(frozen=True)
class Scorer:
    """Holds what metrics need: perceptual networks and the detector.

    Attributes:
        meter: measures openings.
    """

    meter: MouthMeter = field(default_factory=MouthMeter)

    @cached_property
    def perceptual(self) -> PerceptualMetrics:
        """The perceptual distances that can be had."""
        return perceptual_metrics()

    @cached_property
    def sync(self) -> SyncModel | None:
        """The sync network, where its weights are; see `missing`."""
        try:
            return load_sync_model()
        except StoreError:
            return None

    @cached_property
    def facts(self) -> list[Any]:
        """What decides scores besides the frames."""
        weights = None if self.sync is None else file_sha256(SYNC)
        return [code_sha256("adapt.comparison.cells"), sorted(self.perceptual.distances), weights]

    @property
    def missing(self) -> list[str]:
        """What cannot be measured here, a sentence each."""
        sentences = list(self.perceptual.missing.values())
        if self.sync is None:
            sentences.append("sync lag and confidence are not available: the sync network's weights are missing")
        return sentences

    def truth(
        self,
        track: Track,
        crops: torch.Tensor,
        erased: torch.Tensor,
        native: tuple[list[np.ndarray], torch.Tensor] | None = None,
    ) -> Truth:
        """What is measured once for all methods; arguments as the attributes of `Truth`."""
        return Truth(track, crops, erased, self.meter.landmarks(crops), RealFlow(crops, track.timestamps), native)

    def score(self, drawn: torch.Tensor, truth: Truth, heard: Heard, lane: int) -> CellScores:
        """Measure drawn crops [T, 3, H, W]; a number that cannot be had (NaN) is left out."""
        real = truth.crops
        frames: dict[str, torch.Tensor] = {}
        clip: dict[str, float] = {}
        box = mouth_box_mask(real)
        for region, mask in (("mouth", box), ("erased", truth.erased)):
            frames[f"{region}_texture"] = texture_ratio(drawn, real, mask)
            clip[f"{region}_flicker"] = float(flicker_ratio(drawn, real, mask, truth.seconds))
            if lane in WITH_TRUTH:
                frames[f"{region}_psnr"] = psnr(drawn, real, mask)
                for name, distance in self.perceptual.distances.items():
                    frames[f"{region}_{name}"] = distance(drawn, real, mask)
        if lane in WITH_TRUTH:
            frames["mouth_ssim"] = ssim(drawn, real, box)
            clip["mouth_warping"] = float(warping_ratio(drawn, real, truth.flow, box))
        if lane == 1 and truth.native is not None:
            frames["native_texture"] = native_texture_ratio(drawn, *truth.native)
        frames["seam"] = seam_ratio(drawn, real, truth.erased)
        frames["outside_error"] = outside_error(drawn, real, truth.erased)
        landmarks = self.meter.landmarks(drawn)
        frames["gap"] = gap = opening(landmarks)
        if lane in WITH_TRUTH:
            frames["landmark_distance_px"], frames["landmark_distance"] = landmark_distance(landmarks, truth.landmarks)
        clip |= opening_scores(gap, truth, heard, lane)
        clip |= self.sync_scores(landmarks, truth, heard)
        clip |= {name: float(values.mean()) for name, values in frames.items()}
        return CellScores(
            {name: round(value, 6) for name, value in clip.items() if np.isfinite(value)},
            {name: [_number(value) for value in values.tolist()] for name, values in frames.items()},
        )

    def sync_offset(self, landmarks: torch.Tensor, truth: Truth, waveform: np.ndarray | None) -> SyncOffset | None:
        """How a sound lies against the motion seen in landmarks [T, 478, 2] of drawn crops; None: cannot be had."""
        seconds = truth.seconds
        if self.sync is None or waveform is None or float(seconds[-1]) < SHORTEST_SECONDS:
            return None
        motion = replace(seen_motion(load_face_model(), truth.track, landmarks), timestamps=seconds)
        try:
            return self.sync.offset(motion, waveform)
        except ValueError:  # holes leave too little of it
            return None

    def sync_scores(self, landmarks: torch.Tensor, truth: Truth, heard: Heard) -> dict[str, float]:
        """Lag and confidence of the sound of a lane."""
        offset = self.sync_offset(landmarks, truth, heard.waveform)
        if offset is None:
            return {}
        lag = offset.lag_frames
        return {"sync_lag": abs(lag), "signed_sync_lag": lag, "sync_confidence": offset.confidence}

    def shifts_found(self, truth: Truth, shifted: Mapping[int, np.ndarray]) -> dict[str, float]:
        """How far the sync network can be trusted on a clip: share of known shifts of its own sound that are found.

        Args:
            truth: of the clip.
            shifted: its sound, late by so many frames of 1/25 s; 0 is among them.
        """
        offsets = {shift: self.sync_offset(truth.landmarks, truth, sound) for shift, sound in shifted.items()}
        unshifted = offsets.pop(0, None)
        if unshifted is None or not offsets:
            return {}
        apart = [
            abs(offset.lag_frames - unshifted.lag_frames - shift)
            for shift, offset in offsets.items()
            if offset is not None
        ]
        return {"sync_shifts_found": float(np.mean(np.array(apart) <= SHIFT_TOLERANCE_FRAMES))}


def _number(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None


def opening_scores(gap: torch.Tensor, truth: Truth, heard: Heard, lane: int) -> dict[str, float]:
    """What a mouth's opening [T] says in a lane."""
    scores: dict[str, float] = {}
    if lane in WITH_TRUTH:
        scores = {"opening": opening_ratio(gap, truth.opening), "ccc": concordance(gap, truth.opening)}
    if heard.driver_opening is not None:
        scores["driver_correlation"] = correlation(gap, heard.driver_opening)
    if heard.speech is not None:
        moved = silence_leak(gap, truth.speed, truth.seconds, heard.speech)
        scores |= {"silence_leak": moved.leak, "articulation": moved.articulation}
    return scores
