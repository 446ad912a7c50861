"""Measure the cast on reels of known people: `python -m adapt.benchmarks.cast FOLDER -o REPORT.json`.

In: a folder of clips with an `index.csv` that names each file's person. Out: over random reels (several people in turn,
each at least twice, from different takes or distant times), the part of shots in which the right person was seen; and
over frames with a second, small face beside the first, how often both were found.
"""

import argparse
import csv
import random
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from scipy.optimize import linear_sum_assignment

from adapt.cast.analyse import Analysis, analyse
from adapt.cast.mediapipe_backend import MediaPipeBackend
from render.store import write_json
from render.video.reader import Footage

PIECE_SECONDS = 0.8
# Where a second piece of the same clip begins: not at the very end, where clips have title cards.
LATEST_START = 0.85
REEL_SIZE = (854, 480)
REEL_FPS = 25
PEOPLE = (4, 8)
# Of the small face beside the large one, px.
SMALL_FACES_PX = (50, 40)


@dataclass(frozen=True)
class CastClip:
    """One file of the folder."""

    path: Path
    person: str
    face_height_px: float


@dataclass(frozen=True)
class Piece:
    """A stretch of one clip, `start` in [0, 1] of what is left when its length is taken off."""

    clip: CastClip
    start: float


def read_clips(folder: Path) -> list[CastClip]:
    """Clips of a folder's `index.csv` (columns file, person, face_height_px)."""
    with (folder / "index.csv").open(newline="", encoding="utf-8") as table:
        return [
            CastClip(folder / row["file"], row["person"], float(row["face_height_px"])) for row in csv.DictReader(table)
        ]


def random_pieces(clips: Sequence[CastClip], rng: random.Random) -> list[Piece]:
    """Pieces of one reel: 4 to 8 people, each two or three times, from as many takes as there are."""
    takes: dict[str, list[CastClip]] = defaultdict(list)
    for clip in clips:
        takes[clip.person].append(clip)
    pieces = []
    for person in rng.sample(sorted(takes), min(len(takes), rng.randint(*PEOPLE))):
        chosen = rng.sample(takes[person], min(len(takes[person]), rng.randint(2, 3)))
        if len(chosen) > 1:
            pieces += [Piece(clip, LATEST_START * rng.random()) for clip in chosen]
        else:
            pieces += [Piece(chosen[0], start) for start in (0.0, LATEST_START)]
    rng.shuffle(pieces)
    return pieces


def piece_frames(piece: Piece) -> Iterator[np.ndarray]:
    """Pictures of a piece, fitted into the reel's size on black; uint8 [480, 854, 3]."""
    footage = Footage(piece.clip.path)
    count = min(footage.frame_count // 2, round(PIECE_SECONDS * footage.fps))
    first = round(piece.start * (footage.frame_count - count))
    scale = min(REEL_SIZE[0] / footage.width, REEL_SIZE[1] / footage.height)
    size = (round(footage.width * scale), round(footage.height * scale))
    x, y = (REEL_SIZE[0] - size[0]) // 2, (REEL_SIZE[1] - size[1]) // 2
    for frame in footage.frames(first, first + count):
        picture = np.zeros((REEL_SIZE[1], REEL_SIZE[0], 3), np.uint8)
        shrinking = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        picture[y : y + size[1], x : x + size[0]] = cv2.resize(frame.rgb, size, interpolation=shrinking)
        yield picture


def write_reel(path: Path, pieces: Sequence[Piece]) -> list[int]:
    """Encode pieces one after another (h264); returns the first frame of each, and the end."""
    starts = [0]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=REEL_FPS, options={"crf": "20", "preset": "veryfast"})
        stream.width, stream.height = REEL_SIZE
        stream.pix_fmt = "yuv420p"
        for piece in pieces:
            starts.append(starts[-1])
            for picture in piece_frames(piece):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
                starts[-1] += 1
        container.mux(stream.encode())
    return starts


def right_shots(analysis: Analysis, pieces: Sequence[Piece], starts: Sequence[int]) -> list[bool]:
    """Per piece, whether the member mostly seen in it is the one that stands for its person.

    Members stand for people one to one, so that the most pieces are right.
    """
    people = sorted({piece.clip.person for piece in pieces})
    seen_members = np.full(len(pieces), -1)
    for index, (start, stop) in enumerate(zip(starts, starts[1:], strict=False)):
        frames = [member.values("frames") for member in analysis.cast]
        counts = [int(((f >= start) & (f < stop)).sum()) for f in frames]
        if counts and max(counts) > 0:
            seen_members[index] = int(np.argmax(counts))
    votes = np.zeros((max(len(analysis.cast), 1), len(people)))
    for member, piece in zip(seen_members, pieces, strict=True):
        if member >= 0:
            votes[member, people.index(piece.clip.person)] += 1
    stands_for = dict(zip(*linear_sum_assignment(-votes), strict=True))
    return [
        member >= 0 and stands_for.get(member) == people.index(piece.clip.person)
        for member, piece in zip(seen_members, pieces, strict=True)
    ]


def evaluate_reels(clips: Sequence[CastClip], reels: int, seed: int, backend: MediaPipeBackend) -> list[dict[str, Any]]:
    """One record per piece of each reel, and whether the cut before it was found."""
    rng = random.Random(seed)
    records = []
    for reel in range(reels):
        pieces = random_pieces(clips, rng)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "reel.mp4"
            starts = write_reel(path, pieces)
            analysis = analyse(Footage(path), backend)
        cuts = {shot.start for shot in analysis.shots}
        for index, right in enumerate(right_shots(analysis, pieces, starts)):
            clip = pieces[index].clip
            records.append(
                {
                    "reel": reel,
                    "file": clip.path.name,
                    "person": clip.person,
                    "right": bool(right),
                    "cut_found": starts[index] in cuts,
                    "false_cuts": sum(starts[index] < cut < starts[index + 1] for cut in cuts),
                }
            )
        wrong = [record["file"] for record in records if record["reel"] == reel and not record["right"]]
        print(f"reel {reel}: {len(analysis.cast)} members, {len(pieces)} pieces, wrong {wrong}", flush=True)
    return records


def _part(records: Sequence[dict[str, Any]]) -> float:
    return sum(record["right"] for record in records) / max(len(records), 1)


def two_face_frames(clips: Sequence[CastClip], height_px: float, rng: random.Random) -> Iterator[np.ndarray]:
    """Pictures of two people side by side, 720 px high, the face on the right `height_px` high."""
    left, right = rng.sample(clips, 2)
    scale = height_px / right.face_height_px
    pairs = zip(Footage(left.path).frames(), Footage(right.path).frames(), strict=False)
    for index, (large, small) in enumerate(pairs):
        if index % 10:
            continue
        big = cv2.resize(large.rgb, None, fx=720 / large.rgb.shape[0], fy=720 / large.rgb.shape[0])
        little = cv2.resize(small.rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)[:720]
        picture = np.zeros((720, big.shape[1] + max(little.shape[1], 240), 3), np.uint8)
        picture[:, : big.shape[1]] = big
        top = (720 - little.shape[0]) // 2
        picture[top : top + little.shape[0], big.shape[1] : big.shape[1] + little.shape[1]] = little
        yield picture
        if index >= 40:
            return


def evaluate_two_faces(
    clips: Sequence[CastClip], height_px: float, pairs: int, seed: int, backend: MediaPipeBackend
) -> dict[str, Any]:
    """How often both faces of a two-person picture are found, each picture by itself, and how often more than two."""
    rng = random.Random(seed)
    face_counts = [
        len(backend.detect(picture, small=True))
        for _ in range(pairs)
        for picture in two_face_frames(clips, height_px, rng)
    ]
    counts = np.array(face_counts)
    return {
        "face_px": height_px,
        "pictures": len(counts),
        "both_found": float((counts >= 2).mean()),
        "more_than_two": float((counts > 2).mean()),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Measure the cast on reels of known people.")
    parser.add_argument("folder", type=Path, help="clips and their index.csv")
    parser.add_argument("-o", "--out", type=Path, required=True, help="JSON report to write")
    parser.add_argument("--reels", type=int, default=40, help="reels to make")
    parser.add_argument("--pairs", type=int, default=30, help="two-person clips to make at each size")
    parser.add_argument("--apart", nargs="*", default=[], help="people whose shots are also reported apart")
    parser.add_argument("--seed", type=int, default=0, help="seed of the choice of people and pieces")
    given = parser.parse_args(arguments)
    clips = read_clips(given.folder)
    backend = MediaPipeBackend()
    records = evaluate_reels(clips, given.reels, given.seed, backend)
    apart = {person: [r for r in records if r["person"] == person] for person in given.apart}
    summary = {
        "reels": given.reels,
        "shots": len(records),
        "right": _part(records),
        "right_without_apart": _part([r for r in records if r["person"] not in given.apart]),
        "apart": {person: {"shots": len(shots), "right": _part(shots)} for person, shots in apart.items()},
        "cuts_found": sum(r["cut_found"] for r in records) / max(len(records), 1),
        "false_cuts": sum(r["false_cuts"] for r in records),
        "two_faces": [evaluate_two_faces(clips, px, given.pairs, given.seed, backend) for px in SMALL_FACES_PX],
    }
    write_json(given.out, {"summary": summary, "shots": records})
    for key, value in summary.items():
        print(f"{key}: {value}")


if __name__ == "__main__":
    main()
