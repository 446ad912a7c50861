from pathlib import Path

import av
import numpy as np
import pytest

from render.errors import FootageError
from render.video.encoding import Encoding
from render.video.reader import Footage
from render.video.writer import VideoWriter
from tests.media import Sound, make_clip, put_together, without_decoder


def two_sounds(folder: Path) -> Path:
    path = make_clip(folder / "spatial.mov", sounds=[Sound(), Sound()])
    return without_decoder(path, 1, b"mp4a", b"apac")


def two_videos(folder: Path, unknown: int) -> Path:
    parts = [make_clip(folder / f"{number}.mov", sounds=[Sound()] * number) for number in range(2)]
    return without_decoder(put_together(folder / "raw.mov", parts), unknown, b"avc1", b"brxq")


@pytest.mark.parametrize(
    ("make", "line", "note"),
    [
        (two_sounds, "#2 audio unknown (apac)", "stream 2 (audio) is left alone: its codec (apac) is not known"),
        (
            lambda folder: two_videos(folder, 1),
            "#1 video unknown (brxq)",
            "stream 1 (video) is left alone: its codec (brxq) is not known",
        ),
        (
            lambda folder: two_videos(folder, 0),
            "#0 video unknown (brxq)",
            "stream 0 (video) is left alone: its codec (brxq) is not known",
        ),
    ],
)
def test_a_stream_without_decoder_is_listed_and_left_alone(make: object, line: str, note: str, tmp_path: Path) -> None:
    path = make(tmp_path)  # type: ignore[operator]
    level = av.logging.get_level()
    footage = Footage(path)
    assert av.logging.get_level() == level
    assert line in footage.streams and footage.notes == [note] and [sound.codec for sound in footage.audio] == ["aac"]
    with VideoWriter(footage, tmp_path / "out.mov", Encoding("h264", "draft")) as writer:
        for frame in footage.frames():
            writer.write(frame)
    assert len(writer.notes) == 1 and "left out" in writer.notes[0]
    assert [text.split()[1] for text in Footage(tmp_path / "out.mov").streams] == ["video", "audio"]


def test_the_only_video_without_decoder_is_named(tmp_path: Path) -> None:
    path = without_decoder(make_clip(tmp_path / "raw.mov", sounds=[Sound()]), 0, b"avc1", b"brxq")
    with pytest.raises(FootageError, match=r"raw.mov: its video codec \(brxq\) is not known; convert it"):
        Footage(path)


@pytest.mark.parametrize(
    ("suffix", "settings", "default", "used"),
    [
        (".mp4", [{}, {"size": (64, 48)}], [0, 1], "stream 0 is used, the largest"),
        (".mp4", [{"size": (64, 48)}, {}], [0, 1], "stream 1 is used, the largest"),
        (".mkv", [{"size": (320, 240)}, {}], [1], "stream 1 is used, the default one"),
        (".mkv", [{}, {"size": (64, 48)}], [], "stream 0 is used, the largest"),
        (".mov", [{"size": (320, 240), "frames": 1}, {}], [0, 1], "stream 1 is used, the only moving one"),
    ],
)
def test_the_video_that_is_meant(
    suffix: str, settings: list[dict], default: list[int], used: str, tmp_path: Path
) -> None:
    parts = [make_clip(tmp_path / f"{number}{suffix}", **given) for number, given in enumerate(settings)]
    footage = Footage(put_together(tmp_path / f"both{suffix}", parts, default))
    assert (footage.width, footage.height, footage.frame_count) == (160, 120, 24)
    assert footage.notes == [f"there are 2 videos in it; {used}"]
    for name in ("out.mp4", "out.mkv"):
        with VideoWriter(footage, tmp_path / name, Encoding("ffv1")) as writer:
            kept = []
            for frame in footage.frames():
                kept.append(frame.planes[0])
                writer.write(frame)
        copy = Footage(tmp_path / name)
        assert copy.stream_index == 0 and len(copy.streams) == 2
        for frame, plane in zip(copy.frames(), kept, strict=True):
            np.testing.assert_array_equal(frame.planes[0], plane)


def test_a_thumbnail_before_the_film_in_matroska_is_not_it(tmp_path: Path) -> None:
    parts = [make_clip(tmp_path / f"{number}.mkv", **given) for number, given in enumerate(({"frames": 1}, {}))]
    footage = Footage(put_together(tmp_path / "both.mkv", parts, [0]))
    assert footage.frame_count == 24 and "stream 1 is used, the only moving one" in footage.notes[0]
