"""A pack: what a training of the renderer prior reads of a prepared cache, to be carried to another machine.

In: a folder that `adapt prepare FOOTAGE… -o CACHE` wrote, and the trunk of the perceptual term. Out: a folder that is a
cache itself and taken wherever one is: crops as they are, the rows of tracks that crops need, of the facts the person
and which frames have crops, no sound; and the trunk beside the clips. The same cache gives the same bytes.
"""

import os
import shutil
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from prior.cache.prepared import CROPS_NAME, FACTS_NAME, TRACK_NAME, PreparedClip, prepared_clips
from render.drawing.renderer import WINDOW_SECONDS
from render.errors import OutputError, StoreError
from render.head.track import FORMS, Track
from render.store import DISK_FULL, write_json

#: Largest pack where nothing else is said, megabytes (1,000,000 bytes).
LARGEST_MEGABYTES = 40.0


@dataclass(frozen=True)
class Packed:
    """What came into a pack.

    Attributes:
        people, clips: in it; all_people, all_clips: in the cache.
        size: of all its files, bytes.
    """

    people: int
    clips: int
    all_people: int
    all_clips: int
    size: int

    def __str__(self) -> str:
        held = f"{self.people} of {self.all_people} people, {self.clips} of {self.all_clips} clips"
        return f"{held}, {self.size / 1e6:.1f} MB"


def write_pack(cache: Path, pack: Path, trunk: Path, megabytes: float = LARGEST_MEGABYTES) -> Packed:
    """Write a pack of as many people as fit.

    Args:
        cache: prepared folder, or a pack.
        pack: folder to be made.
        trunk: file of the perceptual trunk's weights; comes along under its own name.
        megabytes: most that the pack may hold.

    Raises:
        StoreError: the cache holds no clip, or fewer than two people fit.
        OutputError: the pack exists already, something cannot be read or written, or the disk is full.
    """
    clips = list(prepared_clips(cache))
    if os.path.lexists(pack):
        raise OutputError(f"{pack}: exists already; choose another name, or remove it")
    folder = pack.with_name(f".{pack.name}.{os.getpid()}")  # the pack appears whole or not at all
    try:
        folder.mkdir(parents=True)
        shutil.copyfile(trunk, folder / trunk.name)
        room = 1e6 * megabytes - trunk.stat().st_size
        sizes = {}
        for clip in in_turn(clips):
            if size := _write_clip(clip, folder / clip.folder.name, room):
                sizes[clip.folder.name] = size
                room -= size
        people = {clip.person for clip in clips if clip.folder.name in sizes}
        if len(people) < 2:
            raise StoreError(
                f"{pack}: of {cache} {len(people)} people fit into {megabytes:g} MB, at least 2 are needed; "
                "raise --pack-megabytes"
            )
        folder.rename(pack)
    except OSError as error:
        where = pack if error.filename is None or error.errno in DISK_FULL else error.filename
        advice = "make room, or choose another folder" if error.errno in DISK_FULL else "the pack was not written"
        raise OutputError(f"{where}: {error.strerror}; {advice}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    size = trunk.stat().st_size + sum(sizes.values())
    return Packed(len(people), len(sizes), len({clip.person for clip in clips}), len(clips), size)


def in_turn(clips: list[PreparedClip]) -> list[PreparedClip]:
    """The order in which clips come into a pack: a first one of everybody, small ones first, then second, …

    Clips without a crop, which nothing is learnt from, do not.
    """
    before: Counter[str] = Counter()
    ranked = []
    for clip in (clip for clip in clips if len(clip.frames())):
        ranked.append((before[clip.person], (clip.folder / CROPS_NAME).stat().st_size, clip.folder.name, clip))
        before[clip.person] += 1
    return [clip for *_, clip in sorted(ranked, key=lambda entry: entry[:-1])]


def shortened(clip: PreparedClip) -> tuple[Track, list[int]]:
    """A clip's track without rows that no crop needs, and which of those left have a crop; windows stay the same."""
    track, frames = clip.track, clip.frames()
    times, reach = track.timestamps, max(map(abs, WINDOW_SECONDS))
    # One more on either side: expressions are read between rows.
    first = (torch.searchsorted(times, times[frames] - reach) - 1).clamp(min=0)
    last = torch.searchsorted(times, times[frames] + reach, right=True)
    needed = torch.zeros(len(track), dtype=torch.bool)
    for start, end in zip(first.tolist(), last.tolist(), strict=True):
        needed[start : end + 1] = True
    rows = needed.nonzero()[:, 0]
    by_row: dict[str, Any] = {name: getattr(track, name)[rows] for name, form in FORMS.items() if form.shape[0] == "T"}
    return replace(track, **by_row), torch.searchsorted(rows, frames).tolist()


def _write_clip(clip: PreparedClip, folder: Path, room: float) -> int:
    """Write one clip where there is room for so many bytes; how many it took, 0 where there was none."""
    crops = clip.folder / CROPS_NAME
    if crops.stat().st_size > room:
        return 0
    folder.mkdir()
    track, frames = shortened(clip)
    track.save(folder / TRACK_NAME)
    write_json(folder / FACTS_NAME, {"person": clip.person, "crop_frames": frames})
    shutil.copyfile(crops, folder / CROPS_NAME)
    size = sum(path.stat().st_size for path in folder.iterdir())
    if size <= room:
        return size
    shutil.rmtree(folder)
    return 0
