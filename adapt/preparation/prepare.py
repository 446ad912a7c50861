"""`adapt prepare`: footage of many people made ready for training.

In: video files, or folders of them with an `index.csv` (columns `file`, `person`, `speech`; without one, every file is
a person of its own). Out, for each clip, in a folder `CACHE/CLIP`:

    landmarks.safetensors   `--stage landmarks` only: `prior.cache.landmarks.Landmarks` of the person seen longest
    track.safetensors       a `Track` of every frame, with `crop_size` 256
    crops.mp4               H.264 (4:4:4) crops, 256 px, of the frames that `facts.json` lists as `crop_frames`: short
                            runs of neighbouring frames, evenly spread, as many for every person
    audio.ogg               Opus, mono, of clips whose sound belongs to the picture
    facts.json              written last: a clip without it is done again

`facts.json`: `person`, `file`, `sha256` of the file, `settings`, `crop_frames`, `source_px_per_crop_px` (median),
`has_sound`, `speech` (the sound belongs to the picture; null where the index does not say), `sync_lag_seconds` and
`sync_correlation`. `prior.cache.prepared` reads it all.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch

from adapt.cast.analyse import Analysis, analyse
from adapt.device import one_thread
from adapt.preparation.index import ListedClip
from adapt.tracking.crop import CROP_PX
from adapt.tracking.track import track_person
from prior.cache.landmarks import FILE_NAME, Landmarks
from prior.cache.prepared import CROPS_NAME, FACTS_NAME, TRACK_NAME
from prior.face.model import WEIGHTS, load_face_model
from prior.face.points import lip_gap
from prior.speech.features import frame_level_db
from prior.speech.sound import SAMPLE_RATE, read_waveform, write_audio
from prior.speech.speech_track import speech_track
from render.drawing.crop import cut_crop
from render.errors import FootageError, StoreError
from render.head.track import Track
from render.store import file_sha256, write_atomic, write_json
from render.text import read_json
from render.video.reader import Footage

#: Raised when clips come to be tracked or stored otherwise: what an older version made is then made again.
CACHE_VERSION = 2

AUDIO_NAME = "audio.ogg"

#: Neighbouring frames in a run of crops.
RUN_FRAMES = 5
#: x264's quality of the crops: about 2 KB a crop, 40 dB.
CROP_QUALITY = "18"
#: Largest lag that is looked for between sound and lips.
LONGEST_LAG_SECONDS = 0.4


@one_thread()
def prepare_clip(clip: ListedClip, folder: Path, stage: str, progressive: bool = False) -> bool:
    """Prepare one clip unless that is done already; says whether it was done now; `progressive` as of `Footage`."""
    footage = Footage(clip.path, progressive)
    facts: dict[str, Any] = {
        "person": clip.person,
        "file": clip.path.name,
        "sha256": footage.sha256,
        "settings": {
            "version": CACHE_VERSION,
            "stage": stage,
            "crops": clip.crops,
            "model": file_sha256(WEIGHTS),
        },
        "speech": clip.speech,
    }
    if is_done(folder, facts):
        return False
    (folder / FACTS_NAME).unlink(missing_ok=True)  # half of a new one with old facts would pass for done
    analysis = analyse(footage)
    analysis.member(1)  # raises where there is nobody
    if stage == "landmarks":
        landmarks_of(analysis, clip.person, facts).save(folder / FILE_NAME)
    else:
        track = small_crops(track_person(analysis, 1))
        rows = choose_crops(track, clip.crops)
        if not rows:
            raise FootageError(f"{clip.path}: no {RUN_FRAMES} neighbouring frames in which the face is seen well")
        scale = torch.linalg.det(track.crop_from_image[rows][:, :, :2]).abs().sqrt()
        facts |= {"crop_frames": rows, "source_px_per_crop_px": round(float((1 / scale).median()), 4)}
        facts |= sound_facts(footage, track)
        replace(track, source={**track.source, "person": clip.person}).save(folder / TRACK_NAME)
        write_atomic(folder / CROPS_NAME, lambda path: write_crops(footage, track, rows, path))
        if facts["has_sound"] and clip.speech is not False:
            write_atomic(folder / AUDIO_NAME, lambda path: write_audio(read_waveform(speech_track(clip.path)), path))
    write_json(folder / FACTS_NAME, facts)
    return True


def is_done(folder: Path, facts: dict[str, Any]) -> bool:
    """Whether a clip's folder holds what these facts ask for; raises `StoreError` where it holds something else."""
    path = folder / FACTS_NAME
    if not path.is_file():
        return False
    try:
        held = read_json(path)
    except StoreError:
        return False
    if not isinstance(held, dict):
        return False
    if held.get("sha256") != facts["sha256"]:
        raise StoreError(f"{folder}: holds another clip of this name; rename {facts['file']}, or choose another cache")
    if held.get("settings", {}).get("stage") != facts["settings"]["stage"]:
        raise StoreError(f"{folder}: holds the clip at another stage; choose another cache, or remove that folder")
    return all(held.get(name) == value for name, value in facts.items())


def landmarks_of(analysis: Analysis, person: str, facts: dict[str, Any]) -> Landmarks:
    """Landmarks of the person seen longest, under the name `person`."""
    footage = analysis.footage
    points, confidence = analysis.landmarks(1)
    return Landmarks(
        footage.width,
        footage.height,
        torch.from_numpy(footage.timestamps),
        torch.from_numpy(analysis.shot_of_frame()),
        torch.from_numpy(points[:, : load_face_model().landmark_count].copy()),
        torch.from_numpy(analysis.flow(1)),
        torch.from_numpy(confidence),
        person,
        {"file": facts["file"], "sha256": facts["sha256"]},
    )


def small_crops(track: Track) -> Track:
    """The track with crops of 256 px."""
    share = CROP_PX / track.crop_size
    return replace(track, crop_from_image=track.crop_from_image * share, crop_size=CROP_PX)


def choose_crops(track: Track, count: int) -> list[int]:
    """About `count` frames to keep crops of: runs of neighbours in one shot, evenly spread over the sure ones."""
    sure = track.sure()
    apart = RUN_FRAMES - 1
    starts = torch.arange(max(0, len(track) - apart))
    usable = track.shot[starts] == track.shot[starts + apart] if len(starts) > 0 else starts.bool()
    for step in range(RUN_FRAMES):
        usable &= sure[starts + step]
    starts = starts[usable]
    if not len(starts):
        return []
    runs = max(1, count // RUN_FRAMES)
    chosen = starts[torch.linspace(0, len(starts) - 1, runs).round().long()]
    return sorted({int(start) + step for start in chosen for step in range(RUN_FRAMES)})


def write_crops(footage: Footage, track: Track, rows: list[int], path: Path) -> None:
    """Write the crops of some rows as H.264 at 25 frames/s, whatever their own times."""
    wanted = set(rows)
    options = {"crf": CROP_QUALITY, "preset": "slow", "threads": "1"}
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=25, options=options)
        stream.width = stream.height = track.crop_size
        stream.pix_fmt = "yuv444p"
        for frame in footage.frames(rows[0], rows[-1] + 1):
            if frame.index in wanted:
                crop = cut_crop(frame.rgb, track.crop_from_image[frame.index].numpy(), track.crop_size)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(crop, format="rgb24")))
        container.mux(stream.encode(None))


def sound_facts(footage: Footage, track: Track) -> dict[str, Any]:
    """Whether there is sound, and at what lag its level goes best with the opening of the lips.

    A positive lag: the sound comes later than the picture. Loudness says little of lips, so a correlation under about
    0.2 says nothing.
    """
    nothing: dict[str, Any] = {"has_sound": False, "sync_lag_seconds": None, "sync_correlation": None}
    if not footage.audio:
        return nothing
    try:
        waveform = read_waveform(speech_track(footage.path))
    except FootageError:
        return nothing
    model = load_face_model()
    rows = (track.confidence > 0).nonzero()[:, 0]
    opening = lip_gap(model.vertices(track.shape, track.lower_expression[rows]))
    level = frame_level_db(torch.from_numpy(waveform)).numpy()
    seconds = np.arange(len(level)) * (len(waveform) / SAMPLE_RATE / max(1, len(level) - 1))
    times = track.timestamps[rows].numpy()
    lags = np.arange(-LONGEST_LAG_SECONDS, LONGEST_LAG_SECONDS + 1e-6, 0.02)
    scores = [moving_correlation(np.interp(times + lag, seconds, level), opening.numpy()) for lag in lags]
    best = int(np.argmax(scores))
    return {
        "has_sound": True,
        "sync_lag_seconds": round(float(lags[best]), 3),
        "sync_correlation": round(scores[best], 3),
    }


def moving_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Correlation of two [N] sequences; 0 where one does not move or there are too few samples."""
    if len(first) < 10 or first.std() < 1e-6 or second.std() < 1e-6:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])
