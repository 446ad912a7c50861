"""Kept analyses: what was found in a video is found again by the video's content, whoever asks for it next."""

from array import array
from typing import Any

import numpy as np

from adapt.cache import NOTHING_KEPT, Found, code_sha256, content_key, library_versions
from adapt.cast.analyse import Analysis, LandmarkFile, Shot, analyse
from adapt.cast.mediapipe_backend import FACE_MESH_LAYOUT
from adapt.cast.members import CastMember, Run
from adapt.progress import SILENT, Progress
from render.video.reader import Footage

#: A run's measures, as arrays of this type code.
MEASURES = {
    "frames": "i",
    "rows": "i",
    "confidence": "f",
    "boxes": "f",
    "eye_distance": "f",
    "yaw": "f",
    "roll": "f",
    "opening": "f",
    "sharpness": "f",
    "is_whole": "b",
}
#: Libraries that find faces; others give the same with any version.
LIBRARIES = "mediapipe", "opencv-python-headless", "opencv-contrib-python", "numpy"
REUSED = "what was found in it before is used again (`adapt cache`)"


def analysis_key(footage: Footage, stretch: tuple[int, int] | None = None) -> str:
    """What an analysis is kept under."""
    return content_key(
        {
            "what": "analysis",
            "footage": footage.sha256,
            "progressive": footage.progressive,
            "stretch": stretch,
            "code": code_sha256("adapt.cast.analyse"),
            "libraries": library_versions(*LIBRARIES),
        }
    )


def kept_analysis(
    footage: Footage,
    found: Found = NOTHING_KEPT,
    progress: Progress = SILENT,
    stretch: tuple[int, int] | None = None,
) -> Analysis:
    """`analyse` with the default backend, or what it found in the same content before; that is noted.

    Footage that turns out damaged is not kept, as reading it again tells where.
    """
    if found.folder is None:
        return analyse(footage, progress=progress, stretch=stretch)
    key = analysis_key(footage, stretch)
    if kept := found.read_arrays(key):
        progress.note(f"{footage.path.name}: {REUSED}")
        return _analysis(footage, *kept)
    notes = len(footage.notes)
    analysis = analyse(footage, progress=progress, stretch=stretch)
    if not footage.missing and len(footage.notes) == notes:
        found.write_arrays(key, *_stored(analysis))
    return analysis


def _stored(analysis: Analysis) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    runs = [*(run for member in analysis.cast for run in member.runs), *analysis.unproven]
    arrays = {
        name: np.concatenate([np.asarray(getattr(run, name)) for run in runs] or [np.zeros(0)]) for name in MEASURES
    }
    arrays["landmarks"], arrays["flow"] = analysis.landmark_file.all(), analysis.flow_file.all()
    facts = {
        "shots": [[shot.start, shot.stop] for shot in analysis.shots],
        "cast": [[[run.shot, len(run.frames)] for run in member.runs] for member in analysis.cast],
        "unproven": [[run.shot, len(run.frames)] for run in analysis.unproven],
    }
    return arrays, facts


def _analysis(footage: Footage, arrays: dict[str, np.ndarray], facts: dict[str, Any]) -> Analysis:
    files = []
    for name in ("landmarks", "flow"):
        kept = arrays[name]
        file = LandmarkFile(*kept.shape[1:])
        file.append(kept)
        files.append(file)
    start = 0

    def made(runs: list[list[int]]) -> tuple[Run, ...]:
        nonlocal start
        result = []
        for shot, count in runs:
            measures: dict[str, Any] = {}
            for name, code in MEASURES.items():
                numbers = 4 if name == "boxes" else 1
                values = arrays[name][numbers * start : numbers * (start + count)]
                measures[name] = array(code, values.tobytes())
            result.append(Run(shot, **measures))
            start += count
        return tuple(result)

    members = tuple(CastMember(number, made(runs)) for number, runs in enumerate(facts["cast"], 1))
    shots = tuple(Shot(*shot) for shot in facts["shots"])
    landmarks, flow = files
    return Analysis(footage, FACE_MESH_LAYOUT, shots, members, landmarks, flow, made(facts["unproven"]))
