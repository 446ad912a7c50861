import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from adapt.baselines.contract import rows_of, sound_of
from adapt.baselines.external import (
    MethodError,
    call,
    frame_rate,
    outside_method,
    read_video,
    write_lossless,
)
from adapt.comparison.scores import SHIFTS
from adapt.comparison.sounds import shifted_sounds
from adapt.comparison.split import GAP_SECONDS, Split, Take, group_takes, make_split, prepared_track
from prior.cache.prepared import FACTS_NAME, TRACK_NAME
from prior.face.model import WEIGHTS as FACE_MODEL
from prior.face.model import load_face_model
from prior.speech.sound import SAMPLE_RATE
from render.errors import ConfigError, FootageError
from render.head.track import Track
from render.store import file_sha256, write_json
from render.video.reader import Footage
from tests.media import Sound, make_clip


@dataclass(frozen=True)
class File:
    """What a split reads of footage."""

    path: Path
    sha256: str = "0"
    start: float = 0.0


def track(seconds: float, fps: float) -> Track:
    """A frontal head that stands still; the expression's first axis counts the frames."""
    model = load_face_model()
    count = round(seconds * fps)
    lower = torch.zeros(count, model.lower_basis.shape[0])
    lower[:, 0] = torch.arange(count)
    return Track(
        width=256,
        height=256,
        timestamps=torch.arange(count, dtype=torch.float64) / fps,
        shot=torch.zeros(count, dtype=torch.int32),
        confidence=torch.ones(count),
        shape=torch.zeros(model.shape_basis.shape[0]),
        focal_px=torch.full((count,), 800.0),
        rotation=torch.zeros(count, 3),
        translation=torch.tensor([0.0, 0.0, 60.0]).repeat(count, 1),
        lower_expression=lower,
        upper_expression=torch.zeros(count, model.upper_basis.shape[0]),
        crop_from_image=torch.eye(2, 3, dtype=torch.float64).repeat(count, 1, 1),
        crop_size=256,
        source={"key": "0"},
    )


def take(name: str, person: str, seconds: float, fps: float = 25.0, speech: bool = True) -> Take:
    return Take(File(Path(name)), person, track(seconds, fps), speech)  # type: ignore[arg-type]


def ends(split: Split) -> list[float]:
    """First and last time of the enrollment, then of the held-out frames."""
    times = [float(part.track.timestamps[row]) for part in (split.enrolled, split.held_out) for row in (0, -1)]
    return [round(time, 2) for time in times]


def test_by_time_there_is_a_gap() -> None:
    split = make_split([take("a.mp4", "ada", 12)], 4.0, 3.0)
    assert ends(split) == [0.0, 3.96, 5.96, 8.92]
    assert split.way == "time" and split.gap_seconds == GAP_SECONDS and not split.is_short
    assert split.held_out.track.timestamps[0] - split.enrolled.track.timestamps[-1] >= GAP_SECONDS


def test_a_short_clip_gets_less_and_says_so() -> None:
    split = make_split([take("a.mp4", "ada", 5)], 4.0, 3.0)
    assert ends(split) == [0.0, 1.96, 2.96, 4.96] and split.is_short
    with pytest.raises(FootageError, match="a.mp4: too short"):
        make_split([take("a.mp4", "ada", 1.5)], 4.0, 3.0)


def test_frames_that_are_not_tracked_take_no_part() -> None:
    clip = take("a.mp4", "ada", 14)
    confidence = clip.track.confidence.clone()
    confidence[:25], confidence[190:220] = 0.1, 0.0
    split = make_split([replace(clip, track=replace(clip.track, confidence=confidence))], 4.0, 3.0)
    assert ends(split)[:2] == [1.0, 4.96]
    # The first stretch of three seconds without a hole.
    assert ends(split)[2] >= 8.8 and len(split.held_out.rows) == 75


def test_by_take_where_a_person_has_several() -> None:
    takes = [take("a.mp4", "ada", 8), take("b.mp4", "bob", 9), take("c.mp4", "ada", 5), take("d.mp4", "ada", 6)]
    takes[3] = replace(takes[3], speech=False)
    groups = group_takes(takes, "auto")
    assert [len(group) for group in groups] == [3, 1]
    split = make_split(groups[0], 4.0, 3.0)
    assert (split.enrolled.take.footage.path.name, split.clip, split.way) == ("a.mp4", "c", "take")
    assert [len(group) for group in group_takes(takes, "time")] == [1, 1, 1, 1]
    with pytest.raises(FootageError, match="one take only"):
        make_split(groups[1], 4.0, 3.0, "take")


def test_a_take_that_is_too_short_does_not_cost_the_person() -> None:
    long, second, scrap = take("a.mp4", "ada", 12), take("b.mp4", "ada", 6, speech=False), take("c.mp4", "ada", 0.3)
    by_take = make_split([long, second, scrap], 4.0, 3.0)
    assert by_take.way == "take" and by_take.held_out.take is second
    assert make_split([scrap, long], 4.0, 3.0).way == "time"
    with pytest.raises(FootageError, match="c.mp4: too short; two takes with"):
        make_split([long, scrap], 4.0, 3.0, "take")


def test_fast_clips_are_thinned() -> None:
    split = make_split([take("a.mp4", "ada", 10, fps=60)], 4.0, 3.0)
    assert 88 <= len(split.held_out.rows) <= 92 and set(split.held_out.rows.diff().tolist()) == {2}


def test_a_part_holds_nothing_of_other_rows() -> None:
    rows = torch.tensor([3, 5, 6])
    part = rows_of(track(1.0, 25), rows)
    assert part.lower_expression[:, 0].tolist() == [3, 5, 6] and len(part) == len(part.crop_from_image) == 3
    assert part.lower_expression.untyped_storage().nbytes() == part.lower_expression.numel() * 4
    assert part.duration_seconds == pytest.approx(0.16)


def test_sound_is_cut_and_filled_with_silence() -> None:
    waveform = np.arange(SAMPLE_RATE, dtype=np.float32)
    part = sound_of(waveform, 0.5, 1.0)
    assert part[0] == SAMPLE_RATE / 2 and len(part) == SAMPLE_RATE and not part[SAMPLE_RATE // 2 :].any()
    early = sound_of(waveform, -0.25, 0.5)
    assert not early[: SAMPLE_RATE // 4].any() and early[SAMPLE_RATE // 4 + 1] == 1


def test_the_sound_of_a_take_lies_beside_its_picture_whatever_the_clock(tmp_path: Path) -> None:
    late = 100 * 3600
    times = [25 * late + index for index in range(25)]
    path = make_clip(tmp_path / "a.mkv", times=times, sounds=[Sound("pcm_s16le", start=late + 0.2, seconds=0.5)])
    clip = replace(take("a.mkv", "ada", 1), footage=Footage(path))
    heard = clip.heard(late + 0.1, 0.3)
    assert heard is not None and len(heard) == 0.3 * SAMPLE_RATE
    loud = np.flatnonzero(np.abs(heard) > 0.05) / SAMPLE_RATE
    assert loud[0] == pytest.approx(0.1, abs=0.01) and loud[-1] > 0.29


def test_tracks_of_a_prepared_cache_are_used_for_the_same_bytes_alone(tmp_path: Path) -> None:
    file = File(Path("a.mp4"), sha256="1")
    assert prepared_track(tmp_path, file) is None  # type: ignore[arg-type]
    track(1.0, 25).with_crop_size(512).save(tmp_path / "a" / TRACK_NAME)
    facts = {"sha256": "1", "settings": {"model": file_sha256(FACE_MODEL)}}
    write_json(tmp_path / "a" / FACTS_NAME, facts)
    found = prepared_track(tmp_path, file)  # type: ignore[arg-type]
    assert found is not None and found.crop_size == 256 and len(str(found.source["key"])) == 64
    for other in ({**facts, "sha256": "2"}, {**facts, "settings": {"model": "0"}}):
        write_json(tmp_path / "a" / FACTS_NAME, other)
        assert prepared_track(tmp_path, file) is None  # type: ignore[arg-type]


def test_known_shifts_make_the_sound_late() -> None:
    clip = take("a.mp4", "ada", 12)
    vars(clip)["waveform"] = np.arange(12 * SAMPLE_RATE, dtype=np.float32)  # in place of a file
    shifted = shifted_sounds(make_split([clip], 4.0, 3.0))
    assert set(shifted) == set(SHIFTS) and len(shifted[0]) == 3 * SAMPLE_RATE
    for shift, sound in shifted.items():
        assert sound[0] == shifted[0][0] - shift * SAMPLE_RATE / 25
    assert shifted_sounds(make_split([take("b.mp4", "bob", 12, speech=False)], 4.0, 3.0)) == {}


def test_a_command_needs_a_name_an_output_and_known_words() -> None:
    method = outside_method("other = run --in {query} --sound {audio} {output}", 1)
    assert method.name == "other" and method.needs_sound
    assert not outside_method("other=run {query} {output}", 1).needs_sound
    for entry in ("run {output}", "=run {output}", "other=run {query}", "other=run {video} {output}", "other="):
        with pytest.raises(ConfigError):
            outside_method(entry, 1)
    for entry in ("other=run 'a {output}", "other=awk '{ {output}", "other=run } {output}"):
        with pytest.raises(ConfigError, match="--method other"):
            outside_method(entry, 1)


def test_a_command_that_hangs_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    lasting = "import subprocess, sys, time; c = subprocess.Popen(['sleep', '600']); print(c.pid, flush=True); c.wait()"
    with pytest.raises(MethodError, match="stopped after 0.05 minutes"):
        call([sys.executable, "-c", lasting], 0.05, tmp_path / "said.txt")
    child = Path("/proc") / (tmp_path / "said.txt").read_text().strip() / "stat"
    for _ in range(100):
        # Ended: gone, or waiting to be counted by its new parent.
        if not child.exists() or child.read_text().split()[2] == "Z":
            return
        time.sleep(0.1)
    pytest.fail("what the command started goes on")


def test_a_command_that_fails_is_quoted(tmp_path: Path) -> None:
    with pytest.raises(MethodError, match="exit status 3: no such model"):
        call([sys.executable, "-c", "import sys; print('no such model'); sys.exit(3)"], 1, tmp_path / "said.txt")
    with pytest.raises(MethodError, match="cannot be run"):
        call([str(tmp_path / "none")], 1, tmp_path / "said.txt")


def test_videos_for_outside_methods_are_lossless(tmp_path: Path) -> None:
    frames = torch.randint(0, 256, (3, 3, 32, 48), dtype=torch.uint8)
    from_take = track(1.0, 30)
    write_lossless(tmp_path / "v.mkv", frames, frame_rate(from_take))
    assert torch.equal(read_video(tmp_path / "v.mkv", frames.shape), frames.float() / 255)
    assert frame_rate(from_take) == 30
