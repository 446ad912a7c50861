"""One person of a video: chosen by cast number, tracked, and cut out.

In: footage and a cast number, which may be left out where one person alone can be meant. Out: a `Track`, and crops.
"""

from collections.abc import Iterable

import numpy as np
import torch

from adapt.cast import Analysis, analyse
from adapt.crop import cut_crop
from adapt.progress import Progress
from adapt.tracking import track_landmarks
from prior.face_model import load_face_model
from render.errors import TrackingError
from render.track import Track
from render.video import Footage

#: Sources that decide what tracking makes of footage.
TRACKING = (
    "adapt.tracking",
    "adapt.head_fit",
    "adapt.head_flow",
    "adapt.jaw_leak",
    "adapt.skin_flow",
    "adapt.smoothing",
    "adapt.crop",
    "adapt.faces",
    "adapt.mediapipe_faces",
    "adapt.shots",
    "adapt.cast",
)
#: A second person with less screen time than this part of the first's is not who is meant.
BYSTANDER_PART = 0.2


def choose_person(analysis: Analysis, person: int | None, advice: str) -> int:
    """The cast number that is meant.

    Args:
        analysis: of the footage.
        person: as given by the user.
        advice: how to choose person 1 of several, for the message.

    Raises:
        TrackingError: no face, no such person, or several who could be meant.
    """
    if person is not None:
        return analysis.member(person).number
    everyone(analysis)
    name = analysis.footage.path
    counts = [member.frame_count for member in analysis.cast]
    if len(counts) > 1 and counts[1] > BYSTANDER_PART * counts[0]:
        seen = ", ".join(f"{member.number}: {member.frame_count} frames" for member in analysis.cast[:6])
        raise TrackingError(f"{name}: several people ({seen}); choose one: {advice} (`adapt check` shows them)")
    return 1


def everyone(analysis: Analysis) -> list[int]:
    """All cast numbers, by screen time; raises `TrackingError` where there is no face."""
    if not analysis.cast:
        raise TrackingError(f"{analysis.footage.path}: no face was found; `adapt check` shows what is in the footage")
    return [member.number for member in analysis.cast]


def track_person(analysis: Analysis, person: int) -> Track:
    """Track one cast member through the analysed footage."""
    footage = analysis.footage
    found = np.zeros(footage.frame_count, np.float32)
    member = analysis.member(person)
    found[member.values("frames")] = member.values("confidence")
    source: dict[str, object] = {"file": footage.path.name, "sha256": footage.sha256, "person": person}
    return track_landmarks(
        load_face_model(),
        lambda start, stop: torch.from_numpy(analysis.landmarks(person, start, stop)[0]),
        torch.from_numpy(found),
        torch.from_numpy(footage.timestamps),
        torch.from_numpy(analysis.shot_of_frame()),
        (footage.width, footage.height),
        source,
        lambda start, stop: torch.from_numpy(analysis.flow(person, start, stop)),
    )


def track_footage(footage: Footage, person: int | None, advice: str, progress: Progress | None = None) -> Track:
    """Analyse footage and track the one person that is meant; see `choose_person`."""
    analysis = analyse(footage, progress=progress)
    return track_person(analysis, choose_person(analysis, person, advice))


def read_crops(footage: Footage, track: Track, frames: Iterable[int], progress: Progress | None = None) -> torch.Tensor:
    """Crops of some frames, uint8 [N, 3, crop_size, crop_size] sRGB, in the order given."""
    wanted = [int(frame) for frame in frames]
    places: dict[int, list[int]] = {}
    for row, index in enumerate(wanted):
        places.setdefault(index, []).append(row)
    crops = np.zeros((len(wanted), track.crop_size, track.crop_size, 3), np.uint8)
    first, last = min(wanted), max(wanted)
    progress = progress or Progress(silent=True)
    for frame in progress.over("crops", footage.frames(first, last + 1), last + 1 - first):
        if frame.index in places:
            affine = track.crop_from_image[frame.index].numpy()
            crops[places[frame.index]] = cut_crop(frame.rgb, affine, track.crop_size)
    return torch.from_numpy(crops).permute(0, 3, 1, 2).contiguous()
