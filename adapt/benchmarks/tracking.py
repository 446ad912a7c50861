"""How well tracks fit and how steady they are: `python -m adapt.benchmarks.tracking [CACHE] [-o FILE.jsonl]`.

In: detector landmarks of people who took no part in the face model (`adapt prepare FOOTAGE -o CACHE --stage
landmarks`). Out: a JSON line a clip, and a table. Lengths are shares of the frame's eye distance. The detector
stands for the truth only as far as it goes; so a rendered head, whose pose and expression are known, is tracked too.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch

from adapt.reports.clip import encode_clip
from adapt.synthetic.actor import babble, make_actor
from adapt.tracking.jaw_leak import local_mean
from adapt.tracking.kept import track_footage
from adapt.tracking.sightings import Sightings
from adapt.tracking.track import track_landmarks
from prior.cache.landmarks import Landmarks, load_all
from prior.face.model import load_face_model
from prior.face.points import LIPS_INNER, LIPS_OUTER, RIGID_POINTS, STEADY_POINTS, eye_distance, lip_gap, opening
from render.head.face_model import FaceModel
from render.video.reader import Footage

#: A stretch this long in which the nose bridge moves less than this (standard deviation, eye distances) is still.
STILL_SECONDS = 3.0
STILL_SPREAD = 0.03
#: A stretch in which the lip gap varies less than this (standard deviation) says nothing of the jaw.
LEAST_GAP_SPREAD = 0.02
#: Lip gaps of a mouth that is a little open.
NARROW_GAP = (0.02, 0.08)


def score(model: FaceModel, clip: Landmarks) -> dict[str, object]:
    """Track one clip from its landmarks and compare: see the keys."""
    started = time.process_time()
    sightings = Sightings(
        confidence=clip.confidence,
        timestamps=clip.timestamps,
        shot=clip.shot,
        size=(clip.width, clip.height),
        source=clip.source,
        read_landmarks=lambda start, stop: clip.points[start:stop],
        read_flow=lambda start, stop: clip.flow[start:stop],
    )
    track = track_landmarks(model, sightings)
    seconds = time.process_time() - started
    rows = (clip.confidence > 0).nonzero()[:, 0]
    fitted = track.image_vertices(model, rows)[:, : model.landmark_count].double()
    detected = clip.points[rows, :, :2].double()
    unit = eye_distance(detected)
    error = (fitted - detected).norm(dim=-1) / unit[:, None]
    gap, detected_gap = lip_gap(fitted) / unit, opening(detected)
    closed = detected_gap <= detected_gap.quantile(0.1)
    steady = list(STEADY_POINTS)
    shake, detected_shake = (
        second_difference(points[:, steady] / unit.median(), rows, clip.shot) for points in (fitted, detected)
    )
    skin = clip.flow[rows].double()
    slide, detected_slide = (
        sliding(points[:, list(RIGID_POINTS)] / unit.median(), skin / unit.median(), rows)
        for points in (fitted, detected)
    )
    pitch, times = track.rotation[rows, 0].double(), clip.timestamps[rows]
    bridge = detected[:, 6] / unit.median()
    both = torch.stack([pitch, detected_gap], -1)
    fast = both - local_mean(both, times, clip.shot[rows])
    talks = bool(detected_gap.std() > LEAST_GAP_SPREAD)
    return {
        "clip": clip.source.get("file", ""),
        "person": clip.person,
        "frames": len(rows),
        "error": float(error.mean()),
        "lip_error": float(error[:, list(LIPS_INNER + LIPS_OUTER)].mean()),
        "gap_correlation": correlation(gap, detected_gap),
        "closure_error": float((gap - detected_gap)[closed].abs().mean()),
        "worst_closure_error": float((gap - detected_gap)[closed].abs().quantile(0.95)),
        "shake_ratio": shake / max(detected_shake, 1e-9),
        "slide": slide,
        "detector_slide": detected_slide,
        "jaw_in_pitch": [correlation(*pair) for pair in still_stretches(pitch, bridge, detected_gap, times)],
        "by_chance": [correlation(a, b.flip(0)) for a, b in still_stretches(pitch, bridge, detected_gap, times)],
        "jaw_in_fast_pitch": correlation(*fast.T) if talks else None,
        "fast_by_chance": correlation(fast[:, 0], fast[:, 1].flip(0)) if talks else None,
        "confidence": float(track.confidence.mean()),
        "solver_ms_per_frame": 1000 * seconds / len(track),
    }


def score_against_truth(folder: Path, seconds: float = 4.0) -> dict[str, dict[str, float]]:
    """Render the synthetic actor with noise and blur, moving and with a still head, track her, compare.

    Args:
        folder: where the videos go.
        seconds: length of each.

    Returns:
        For "moving" and "still": mean and largest error of the head's turns (degrees, about their means), mean error of
        the lip gap and the same where the lips are closed, a little open and wider (shares of the eye distance),
        correlation of pitch with gap, and degrees of pitch per gap of a fifth of the eye distance.
    """
    model, actor = load_face_model(), make_actor(512)
    times = torch.arange(round(25 * seconds), dtype=torch.float64) / 25
    result = {}
    for name in ("moving", "still"):
        truth = actor.perform(actor.speak(babble(seconds), times), times)
        if name == "still":
            rows = torch.zeros(len(times), dtype=torch.int64)
            truth = replace(truth, rotation=actor.pose.rotation[rows], translation=actor.pose.translation[rows])
        path = folder / f"{name}.mp4"
        path.write_bytes(encode_clip(worn(actor.frames(truth)), times.tolist()))
        track = track_footage(Footage(path), None, "adapt.benchmarks.tracking")
        gaps = []
        for motion in (track, truth):
            vertices = model.vertices(motion.shape, motion.lower_expression).double()
            gaps.append(opening(vertices))
        turned = (track.rotation - track.rotation.mean(0)) - (truth.rotation - truth.rotation.mean(0))
        angle = torch.rad2deg(turned.norm(dim=-1))
        error = (gaps[0] - gaps[1]).abs()
        pitch = torch.rad2deg(turned[:, 0].double())
        moved = gaps[1] - gaps[1].mean()
        result[name] = {
            "pose_degrees": float(angle.mean()),
            "largest_pose_degrees": float(angle.max()),
            "gap_error": float(error.mean()),
            "closure_error": float(error[gaps[1] <= gaps[1].quantile(0.1)].mean()),
            "narrow_error": float(error[(gaps[1] > NARROW_GAP[0]) & (gaps[1] < NARROW_GAP[1])].mean()),
            "wide_error": float(error[gaps[1] >= NARROW_GAP[1]].mean()),
            "jaw_in_pitch": correlation(pitch, gaps[1]),
            "pitch_degrees_per_fifth": float(0.2 * (pitch @ moved) / (moved @ moved)),
        }
    return result


def worn(frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Frames uint8 [H, W, 3] with a blur of 1 px and grain of 5 levels (standard deviations)."""
    for index, rgb in enumerate(frames):
        grain = np.random.default_rng(index).normal(0, 5, rgb.shape)
        yield (cv2.GaussianBlur(rgb, (0, 0), 1.0) + grain).clip(0, 255).astype(np.uint8)


def correlation(first: torch.Tensor, second: torch.Tensor) -> float:
    """Pearson's r of two [N]; 0 where either is constant."""
    r = torch.corrcoef(torch.stack([first, second]))[0, 1]
    return float(r.nan_to_num(0.0))


def second_difference(points: torch.Tensor, rows: torch.Tensor, shot: torch.Tensor) -> float:
    """Root mean square of the second difference in time of points [N, K, 2], over neighbouring frames of one shot."""
    together = (rows[2:] - rows[:-2] == 2) & (shot[rows[2:]] == shot[rows[:-2]])
    bend = points[2:] - 2 * points[1:-1] + points[:-2]
    return float(bend[together].square().sum(-1).mean().sqrt())


def sliding(points: torch.Tensor, skin: torch.Tensor, rows: torch.Tensor) -> float:
    """How far points slide over the skin from frame to frame: root mean square over frames of the median.

    Args:
        points: [N, K, 2], the rigid ones.
        skin: [N, K, 2] motion of the skin there since the frame before, same unit, NaN where not known.
        rows: [N] index of the frame.
    """
    away = (points.diff(dim=0) - skin[1:]).norm(dim=-1)[rows.diff() == 1].nanmedian(-1).values
    return float(away.square().nanmean().sqrt())


def still_stretches(
    pitch: torch.Tensor, bridge: torch.Tensor, gap: torch.Tensor, times: torch.Tensor
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Pitch and lip gap of each stretch in which the head is still and the mouth is not."""
    result = []
    start = 0
    while start < len(times):
        stop = int(torch.searchsorted(times, times[start] + STILL_SECONDS))
        part = slice(start, stop)
        long_enough = stop - start >= 20 and float(times[stop - 1] - times[start]) > STILL_SECONDS * 0.8
        if long_enough and gap[part].std() > LEAST_GAP_SPREAD and bridge[part].std(0).norm() < STILL_SPREAD:
            result.append((pitch[part], gap[part]))
        start = stop
    return result


def summarise(scores: list[dict[str, object]]) -> list[str]:
    """Lines of a table: over clips, mean, worst, and in how many the bound holds."""
    bounds = {
        "error": 0.015,
        "lip_error": 0.01,
        "gap_correlation": 0.97,
        "closure_error": 0.01,
        "worst_closure_error": 0.01,
        "shake_ratio": 0.6,
    }
    lines = ["| measure | mean | worst | bound | clips within |", "|---|---|---|---|---|"]
    for name, bound in bounds.items():
        values = torch.tensor([float(s[name]) for s in scores])  # type: ignore[arg-type]
        high = name == "gap_correlation"
        worst = values.min() if high else values.max()
        within = int(((values >= bound) if high else (values <= bound)).sum())
        lines.append(f"| {name} | {values.mean():.4f} | {worst:.4f} | {bound} | {within} of {len(values)} |")
    for name, text in (
        ("jaw_in_pitch", "pitch and lip gap, still stretches"),
        ("by_chance", "the same with the gap reversed in time, which is chance"),
    ):
        still = torch.tensor([r for s in scores for r in s[name]])  # type: ignore[attr-defined]
        if len(still):
            lines.append(f"{text}: mean r {still.mean():.3f}, median |r| {still.abs().median():.3f}, n {len(still)}")
    for name, text in (
        ("jaw_in_fast_pitch", "what is faster than half a second, whole clips"),
        ("fast_by_chance", "chance"),
    ):
        fast = torch.tensor([float(r) for s in scores if (r := s[name]) is not None])  # type: ignore[arg-type]
        if len(fast):
            lines.append(f"{text}: mean r {fast.mean():.3f}, median |r| {fast.abs().median():.3f}, n {len(fast)}")
    slides = torch.tensor([[float(s[name]) for name in ("slide", "detector_slide")] for s in scores])  # type: ignore[arg-type]
    ours, detector = slides.mean(0).tolist()
    lines.append(f"sliding over the skin from frame to frame: {ours:.4f}, the detector's points {detector:.4f}")
    return lines


def main() -> None:
    """Command line of the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cache", type=Path, nargs="?", help="folder written by `adapt prepare --stage landmarks`")
    parser.add_argument("-o", "--out", type=Path, help="file of JSON lines, one a clip")
    given = parser.parse_args()
    torch.set_num_threads(1)
    model = load_face_model()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(score_against_truth(Path(folder))), flush=True)
    scores = []
    for clip in load_all(given.cache) if given.cache else ():
        scores.append(score(model, clip))
        print(json.dumps(scores[-1]), flush=True)
    if given.out:
        given.out.write_text("".join(json.dumps(s) + "\n" for s in scores), encoding="utf-8")
    if scores:
        print("\n".join(summarise(scores)))


if __name__ == "__main__":
    main()
