from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import pytest

import render.video.reader
from render.errors import FootageError
from render.video.encoding import Encoding
from render.video.picture_kind import declares_fields
from render.video.reader import Footage
from render.video.writer import VideoWriter
from tests.media import make_clip

#: What x264 needs to flag pictures as two fields.
FIELDS = {"preset": "ultrafast", "x264-params": "tff=1"}
#: Half a second at 24 frames a second, twice.
HALVES = range(12), range(12, 24)


def joined(folder: Path, suffix: str, *settings: dict) -> Path:
    """Clips of half a second after each other, as `cat` joins them."""
    parts = [
        make_clip(folder / f"{number}{suffix}", times=times, time_base=Fraction(1, 24), rate=24, **given)
        for number, (times, given) in enumerate(zip(HALVES, settings, strict=True))
    ]
    header = 13 if suffix == ".flv" else 0
    path = folder / f"joined{suffix}"
    path.write_bytes(parts[0].read_bytes() + parts[1].read_bytes()[header:])
    return path


@pytest.mark.parametrize("suffix", [".flv", ".ts"])
@pytest.mark.parametrize(
    ("second", "words"),
    [
        ({"size": (96, 80)}, "picture size changes at {} from 160x120 to 96x80; cut it there"),
        ({"options": FIELDS}, "interlaced video (h264, fields) from {} on; deinterlace it first"),
        ({"pix_fmt": "yuv422p"}, "pixel format changes at {} from yuv420p to yuv422p; cut it there"),
        ({"pix_fmt": "yuv420p10le"}, "pixel format changes at {} from yuv420p to yuv420p10le; cut it there"),
    ],
)
def test_a_change_is_named_with_its_time(suffix: str, second: dict, words: str, tmp_path: Path) -> None:
    path = joined(tmp_path, suffix, {}, second)
    start = Footage(tmp_path / f"0{suffix}").start
    with pytest.raises(FootageError) as caught:
        list(Footage(path).frames())
    message = str(caught.value)
    assert str(path) in message and "\n" not in message
    assert words.format(f"0:00:0{start + 0.5:.3f}") in message


@pytest.mark.parametrize("second", [{"size": (96, 80)}, {"options": FIELDS}])
def test_what_headers_announce_is_found_without_decoding(
    second: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = []
    read = render.video.reader.decoded

    def counted(*arguments: object) -> object:
        for item in read(*arguments):
            decoded.append(item)
            yield item

    monkeypatch.setattr(render.video.reader, "decoded", counted)
    with pytest.raises(FootageError, match="changes at|interlaced"):
        Footage(joined(tmp_path, ".flv", {}, second))
    assert len(decoded) == render.video.reader.PROBE_FRAMES


def test_a_new_header_for_the_same_pictures_is_no_change(tmp_path: Path) -> None:
    footage = Footage(joined(tmp_path, ".flv", {}, {"options": {"preset": "medium", "crf": "30"}}))
    assert [frame.index for frame in footage.frames()] == list(range(24)) and footage.missing == []


def test_fields_that_are_of_one_moment_are_read_as_frames(tmp_path: Path) -> None:
    path = joined(tmp_path, ".ts", {}, {"options": FIELDS})
    footage = Footage(path, progressive=True)
    assert len(list(footage.frames())) == footage.frame_count == 24


def test_the_container_is_asked_where_pictures_say_nothing_of_fields() -> None:
    asked = [("utvideo", 2, True), ("utvideo", 1, False), ("h264", 2, False)]  # 1: progressive, 2: top field first
    for name, order, is_declared in asked:
        assert declares_fields(SimpleNamespace(name=name, field_order=order)) == is_declared


@pytest.mark.parametrize("codec", ["h264", "ffv1"])
def test_what_was_read_as_frames_is_written(codec: str, tmp_path: Path) -> None:
    footage = Footage(make_clip(tmp_path / "psf.mp4", frames=4, options=FIELDS), progressive=True)
    with VideoWriter(footage, tmp_path / "out.mkv", Encoding(codec)) as writer:
        for frame in footage.frames():
            writer.write(frame)
    assert Footage(tmp_path / "out.mkv", progressive=True).frame_count == 4
