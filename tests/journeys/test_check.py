import json
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from adapt.cast.mediapipe_backend import MediaPipeBackend
from adapt.cast.sheet import cast_sheet
from adapt.cast.suitability import SHORTEST_SECONDS, Findings, check, check_footage
from render.errors import FootageError
from render.video.reader import Footage
from tests.heads import near, portrait
from tests.media import Sound, make_clip, make_sound

SIZE = (240, 180)


@pytest.fixture(scope="module")
def backend() -> MediaPipeBackend:
    return MediaPipeBackend()


def title() -> np.ndarray:
    card = np.full((SIZE[1], SIZE[0], 3), 50, np.uint8)
    cv2.putText(card, "Part two", (40, 95), cv2.FONT_HERSHEY_SIMPLEX, 1, (230, 230, 230), 2)
    return card


def occluded(index: int) -> np.ndarray:
    picture = near(index)
    picture[20:170, 60:190] = (40, 70, 40)
    return picture


@pytest.fixture(scope="module")
def reel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 frames: 100 near, 30 black, 40 title, 60 near with 3 occluded (190 to 192), a cut, 70 of another framing."""
    black = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    far = portrait(80, size=SIZE, at=(90, 80))
    pictures = [near(i) for i in range(100)] + [black] * 30 + [title()] * 40
    pictures += [occluded(i) if 190 <= i < 193 else near(i) for i in range(170, 230)] + [far] * 70
    return make_clip(tmp_path_factory.mktemp("reel") / "reel.mp4", size=SIZE, pictures=pictures, sounds=[Sound()])


@pytest.fixture(scope="module")
def report(reel: Path, backend: MediaPipeBackend) -> Findings:
    return check(reel, backend=backend)


def test_a_reel_with_gaps_is_reported_whole(report: Findings) -> None:
    assert report.facts["frames"] == 300 and report.facts["fps"] == 25
    assert [shot.start for shot in report.shots] == [0, 100, 130, 170, 230] and report.shots[-1].stop == 300
    assert report.shots[1].start_timecode == "0:00:04.000" and report.shots[1].stop_timecode == "0:00:05.200"
    assert [(gap.start, gap.stop) for gap in report.faceless][0] == (100, 170)
    late = [(gap.start, gap.stop) for gap in report.faceless][1:]
    assert late and late[0][0] == 190 and 193 <= late[-1][1] <= 196
    (member,) = report.cast
    assert member.number == 1 and member.shots == [0, 3, 4]
    assert 225 <= member.frames <= 227 and member.usable_seconds > 8
    assert member.face_height_px[0] < 90 < member.face_height_px[2]
    assert [gap.start for gap in member.faceless] == [190]
    assert abs(member.yaw_degrees[0]) < 12 and member.sharpness > 0.1


def test_what_is_missing_for_a_good_fit_is_said(report: Findings) -> None:
    (member,) = report.cast
    assert member.verdict == "usable"
    assert any(text.startswith("silence") for text in member.missing) and "a closed mouth" in member.missing
    assert not any("frontal" in text or "larger" in text for text in member.missing)


def test_the_text_and_the_json_say_the_same(report: Findings) -> None:
    text = "\n".join(report.lines())
    assert "person 1: usable" in text and "no face: 0:00:04.000 to 0:00:06.800 (70 frames)" in text
    assert json.loads(json.dumps(asdict(report), allow_nan=False))["cast"][0]["frames"] == report.cast[0].frames


def test_a_short_blurred_small_face_is_poor(tmp_path: Path, backend: MediaPipeBackend) -> None:
    picture = cv2.GaussianBlur(portrait(55, size=SIZE, at=(120, 90)), (0, 0), 3)
    members = []
    for count in (10, 30):
        clip = make_clip(tmp_path / f"{count}.mp4", pictures=[picture] * count, size=SIZE)
        members += check(clip, backend=backend).cast
    short, longer = members
    assert short.verdict == "poor" and short.usable_seconds == 0.4 < SHORTEST_SECONDS
    assert longer.verdict == "usable", "a fit would take it"
    assert {"a larger face", "a sharper picture"} <= set(short.missing) & set(longer.missing)
    assert (
        "4 s of usable footage (0.40 s here)" in short.missing
        and "4 s of usable footage (1.20 s here)" in longer.missing
    )


def test_the_sheet_has_a_row_for_everyone(tmp_path: Path, backend: MediaPipeBackend) -> None:
    two = np.concatenate([near(), near()[:, ::-1]], axis=1)
    path = make_clip(tmp_path / "two.mp4", pictures=[two] * 8, size=(480, 180))
    report, analysis = check_footage(Footage(path), backend=backend)
    assert [member.frames for member in report.cast] == [8, 8]
    sheet = cast_sheet(analysis)
    assert sheet.dtype == np.uint8 and sheet.shape[0] > 2 * 144 and sheet.shape[1] > 3 * 160
    assert len(backend.detect(sheet, small=True)) >= 5


@pytest.mark.parametrize("rate", [Fraction(24000, 1001), Fraction(30000, 1001), Fraction(60000, 1001)])
def test_rates_are_kept(tmp_path: Path, backend: MediaPipeBackend, rate: Fraction) -> None:
    path = make_clip(tmp_path / "clip.mp4", pictures=[near(i) for i in range(12)], rate=rate)
    report = check(path, backend=backend)
    assert report.facts["fps"] == pytest.approx(float(rate), abs=2e-3) and not report.facts["variable_rate"]
    assert report.facts["seconds"] == pytest.approx(12 / rate, abs=1e-3)
    assert report.cast[0].seconds == pytest.approx(float(12 / rate), abs=2e-3)


def test_variable_rate_is_weighed_by_duration(tmp_path: Path, backend: MediaPipeBackend) -> None:
    times = [0, 40, 80, 200, 240, 600, 640]
    path = make_clip(
        tmp_path / "clip.mp4", pictures=[near(i) for i in range(7)], times=times, time_base=Fraction(1, 1000)
    )
    report = check(path, backend=backend)
    assert report.facts["variable_rate"] and report.facts["frames"] == 7
    assert report.cast[0].frames == 7 and report.cast[0].seconds == pytest.approx(report.facts["seconds"])


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_rotated_footage_is_seen_upright(tmp_path: Path, backend: MediaPipeBackend, rotation: int) -> None:
    path = make_clip(tmp_path / "clip.mp4", pictures=[near(i) for i in range(5)], size=SIZE, rotation=rotation)
    report = check(path, backend=backend)
    assert (report.facts["width"], report.facts["height"]) == SIZE
    assert report.cast[0].frames == 5 and report.cast[0].face_height_px[1] == pytest.approx(100, rel=0.2)


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("ten bit.mp4", {"codec": "libx265", "pix_fmt": "yuv420p10le"}),
        ("odd.mp4", {"pix_fmt": "yuv444p", "pictures": [near(i, (241, 179)) for i in range(5)]}),
        ("Ümlaut é 片.mov", {"sounds": [Sound(layout="5.1")]}),
    ],
    ids=["ten bit", "odd size", "spaces and accents"],
)
def test_unusual_files_are_checked(tmp_path: Path, backend: MediaPipeBackend, name: str, how: dict) -> None:
    pictures = how.pop("pictures", [near(i) for i in range(5)])
    report = check(make_clip(tmp_path / name, pictures=pictures, **how), backend=backend)
    assert report.cast[0].frames == 5 and report.facts["width"] == pictures[0].shape[1]
    assert report.facts["bit_depth"] == (10 if "ten" in name else 8)


def test_driving_sound_is_compared_with_the_video(tmp_path: Path, reel: Path, backend: MediaPipeBackend) -> None:
    sound = make_sound(tmp_path / "voice.wav", Sound(codec="pcm_s16le", seconds=3.0))
    audio = check(reel, sound, backend).audio
    assert audio is not None and audio["sample_rate_hz"] == 48000
    assert audio["longer_than_video_seconds"] == pytest.approx(-9.0, abs=0.1)
    assert "9.00 s shorter than the video" in audio["remarks"]
    assert any("music or noise" in remark for remark in audio["remarks"])  # a steady tone is no speech


def test_a_missing_sound_is_said_before_the_video_is_looked_at(tmp_path: Path, reel: Path) -> None:
    with pytest.raises(FootageError, match="none.wav"):
        check(reel, tmp_path / "none.wav")
