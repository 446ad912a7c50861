"""How well tracks fit and how steady they are: `python -m adapt.evaluate_tracking CACHE [-o FILE.jsonl]`.

In: detector landmarks of people who took no part in the face model (`adapt prepare FOOTAGE -o CACHE --stage
landmarks`). Out: a JSON line a clip, and a table. Lengths are shares of the frame's eye distance. The detector
stands for the truth only as far as it goes; against real truth the tracker is tested on a synthetic head.
"""

import argparse
import json
import time
from pathlib import Path

import torch

from adapt.tracking import track_landmarks
from prior.face_model import LIPS_INNER, LIPS_OUTER, STEADY_POINTS, eye_distance, lip_gap, load_face_model
from prior.landmarks import Landmarks, load_all
from render.face_model import FaceModel

#: A stretch this long in which the nose bridge moves less than this (standard deviation, eye distances) is still.
STILL_SECONDS = 3.0
STILL_SPREAD = 0.03
#: A stretch in which the lip gap varies less than this (standard deviation) says nothing of the jaw.
LEAST_GAP_SPREAD = 0.02


def score(model: FaceModel, clip: Landmarks) -> dict[str, object]:
    """Track one clip from its landmarks and compare: see the keys."""
    started = time.process_time()
    track = track_landmarks(
        model,
        lambda start, stop: clip.points[start:stop],
        clip.confidence,
        clip.timestamps,
        clip.shot,
        (clip.width, clip.height),
        clip.source,
    )
    seconds = time.process_time() - started
    rows = (clip.confidence > 0).nonzero()[:, 0]
    fitted = track.image_vertices(model, rows)[:, : model.landmark_count].double()
    seen = clip.points[rows, :, :2].double()
    unit = eye_distance(seen)
    error = (fitted - seen).norm(dim=-1) / unit[:, None]
    gap, seen_gap = lip_gap(fitted) / unit, lip_gap(seen) / unit
    closed = seen_gap <= seen_gap.quantile(0.1)
    steady = list(STEADY_POINTS)
    shake, seen_shake = (
        second_difference(points[:, steady] / unit.median(), rows, clip.shot) for points in (fitted, seen)
    )
    return {
        "clip": clip.source.get("file", ""),
        "person": clip.person,
        "frames": len(rows),
        "error": float(error.mean()),
        "lip_error": float(error[:, list(LIPS_INNER + LIPS_OUTER)].mean()),
        "gap_correlation": correlation(gap, seen_gap),
        "closure_error": float((gap - seen_gap)[closed].abs().mean()),
        "worst_closure_error": float((gap - seen_gap)[closed].abs().quantile(0.95)),
        "shake_ratio": shake / max(seen_shake, 1e-9),
        "jaw_in_pitch": jaw_in_pitch(
            track.rotation[rows, 0].double(), seen[:, 6] / unit.median(), seen_gap, clip.timestamps[rows]
        ),
        "confidence": float(track.confidence.mean()),
        "solver_ms_per_frame": 1000 * seconds / len(track),
    }


def correlation(first: torch.Tensor, second: torch.Tensor) -> float:
    """Pearson's r of two [N]; 0 where either is constant."""
    r = torch.corrcoef(torch.stack([first, second]))[0, 1]
    return float(r.nan_to_num(0.0))


def second_difference(points: torch.Tensor, rows: torch.Tensor, shot: torch.Tensor) -> float:
    """Root mean square of the second difference in time of points [N, K, 2], over neighbouring frames of one shot."""
    together = (rows[2:] - rows[:-2] == 2) & (shot[rows[2:]] == shot[rows[:-2]])
    bend = points[2:] - 2 * points[1:-1] + points[:-2]
    return float(bend[together].square().sum(-1).mean().sqrt())


def jaw_in_pitch(pitch: torch.Tensor, bridge: torch.Tensor, gap: torch.Tensor, times: torch.Tensor) -> list[float]:
    """Correlation of head pitch with lip gap in each stretch in which the head is still and the mouth is not."""
    result = []
    start = 0
    while start < len(times):
        stop = int(torch.searchsorted(times, times[start] + STILL_SECONDS))
        part = slice(start, stop)
        long_enough = stop - start >= 20 and float(times[stop - 1] - times[start]) > STILL_SECONDS * 0.8
        if long_enough and gap[part].std() > LEAST_GAP_SPREAD and bridge[part].std(0).norm() < STILL_SPREAD:
            result.append(correlation(pitch[part], gap[part]))
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
    still = torch.tensor([r for s in scores for r in s["jaw_in_pitch"]])  # type: ignore[attr-defined]
    if len(still):
        lines.append(f"| jaw_in_pitch, mean r of {len(still)} still stretches | {still.mean():.3f} | | 0.1 | |")
        lines.append(f"| the same, median of \\|r\\| | {still.abs().median():.3f} | | 0.1 | |")
    return lines


def main() -> None:
    """Command line of the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cache", type=Path, help="folder written by `adapt prepare --stage landmarks`")
    parser.add_argument("-o", "--out", type=Path, help="file of JSON lines, one a clip")
    given = parser.parse_args()
    torch.set_num_threads(1)
    model = load_face_model()
    scores = []
    for clip in load_all(given.cache):
        scores.append(score(model, clip))
        print(json.dumps(scores[-1]), flush=True)
    if given.out:
        given.out.write_text("".join(json.dumps(s) + "\n" for s in scores), encoding="utf-8")
    print("\n".join(summarise(scores)))


if __name__ == "__main__":
    main()
