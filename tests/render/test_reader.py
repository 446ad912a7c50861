"""Footage: facts, frames and times of files as they come in, and of damaged ones."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from render.errors import FootageError
from render.video.container import timecode
from render.video.encoding import Encoding
from render.video.reader import Footage
from tests.media import Sound, hold_last, make_clip, make_sound, picture, rewritten, truncate


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_shown_upright(rotation: int, tmp_path: Path) -> None:
    footage = Footage(make_clip(tmp_path / "turned.mp4", frames=2, rotation=rotation, options={"crf": "1"}))
    assert (footage.width, footage.height, footage.rotation) == (160, 120, rotation)
    rgb = next(footage.frames()).rgb
    assert rgb.shape == (120, 160, 3)
    assert np.abs(rgb.astype(float) - picture(0, 160, 120)).mean() < 4
    plane = next(footage.frames()).planes[0]
    orientation = footage.orientation
    np.testing.assert_array_equal(orientation.coded(orientation.upright(plane)), plane)
    coded = orientation.coded_from_upright(footage.coded_width, footage.coded_height) @ [20.5, 30.5, 1.0]
    assert orientation.upright(plane)[30, 20] == plane[int(coded[1]), int(coded[0])]


def test_colour_matrix_follows_the_tag(tmp_path: Path) -> None:
    grey_red = np.zeros((120, 160, 3), np.uint8)
    grey_red[:] = (200, 40, 60)
    for matrix, expected in ((5, True), (1, False)):  # the clip is made with BT.601
        path = make_clip(tmp_path / f"{matrix}.mp4", pictures=[grey_red], context={"colorspace": matrix})
        error = np.abs(next(Footage(path).frames()).rgb.astype(float) - grey_red).max()
        assert (error <= 3) == expected


def test_facts(tmp_path: Path) -> None:
    sounds = [Sound(layout="5.1"), Sound(rate=44100, layout="mono", language="deu")]
    path = make_clip(tmp_path / "facts.mp4", sounds=sounds, metadata={"title": "Reel"}, rate=Fraction(24000, 1001))
    with Footage(path) as footage:
        assert (footage.codec, footage.bit_depth, footage.frame_count) == ("h264", 8, 24)
        assert footage.timestamps[1] == pytest.approx(1001 / 24000)
        assert footage.fps == pytest.approx(24000 / 1001) and not footage.has_variable_rate
        assert footage.duration == pytest.approx(24 * 1001 / 24000)
        assert [(a.codec, a.sample_rate, a.channels, a.language) for a in footage.audio] == [
            ("aac", 48000, 6, "und"),
            ("aac", 44100, 1, "deu"),
        ]
        assert footage.metadata["title"] == "Reel" and len(footage.sha256) == 64 and len(footage.streams) == 3
    assert timecode(3723.4567) == "1:02:03.457" and timecode(-0.5) == "-0:00:00.500"


def test_a_clock_that_begins_anew_is_counted_on(tmp_path: Path) -> None:
    part = make_clip(tmp_path / "part.ts", frames=25)
    (tmp_path / "joined.ts").write_bytes(3 * part.read_bytes())
    footage = Footage(tmp_path / "joined.ts")
    np.testing.assert_allclose(footage.timestamps - footage.start, np.arange(75) / 25, atol=1e-4)
    assert footage.joins == pytest.approx([footage.start + 1, footage.start + 2], abs=1e-4)
    first, second = map(timecode, footage.joins)
    (note,) = footage.notes
    assert note == f"its clock begins anew at {first}, {second} (recordings joined as they were): it is counted on"
    assert [frame.index for frame in footage.frames(30, 60)] == list(range(30, 60))


@pytest.mark.parametrize("options", [{"preset": "ultrafast"}, {"preset": "medium", "bf": "2"}], ids=["", "B-frames"])
@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_the_last_picture_lasts_as_long_as_the_file_says(suffix: str, options: dict, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", frames=25, options=options)
    footage = Footage(hold_last(tmp_path / f"held{suffix}", clip, 2.04))
    assert footage.duration == pytest.approx(3.0) and footage.ends[-1] == pytest.approx(footage.end)
    assert footage.fps == pytest.approx(25) and not footage.has_variable_rate and footage.notes == []
    rewritten(footage.path, tmp_path / "copy.mp4", Encoding("h264", "draft"))
    assert Footage(tmp_path / "copy.mp4").duration == pytest.approx(3.0)


def test_any_range_of_frames(tmp_path: Path) -> None:
    options = {"preset": "medium", "bf": "3", "g": "12"}
    for name in ("range.mp4", "range.mkv"):
        footage = Footage(make_clip(tmp_path / name, frames=40, options=options))
        whole = [(frame.index, frame.pts, frame.planes[0]) for frame in footage.frames()]
        assert [index for index, _, _ in whole] == list(range(40))
        for start, end in ((0, 3), (13, 14), (11, 30), (39, 40), (7, 7)):
            part = list(footage.frames(start, end))
            assert [(f.index, f.pts) for f in part] == [(i, p) for i, p, _ in whole[start:end]]
            for frame in part:
                np.testing.assert_array_equal(frame.planes[0], whole[frame.index][2])
    with pytest.raises(ValueError, match="frames"):
        next(footage.frames(41))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path.write_text("this is not a video\n" * 99), "not a video or audio file"),
        (lambda path: path.write_bytes(b""), "empty"),
        (lambda path: None, "no such file"),
        (lambda path: path.mkdir(), "is a folder"),
        (lambda path: make_sound(path, Sound()), "no video in it (only sound)"),
        (lambda path: truncate(make_clip(path), 0.9), "its index is missing"),
        (lambda path: make_clip(path, options={"preset": "ultrafast", "x264-params": "tff=1"}), "interlaced"),
    ],
)
def test_unusable_files_are_named(make: object, words: str, tmp_path: Path) -> None:
    path = tmp_path / "bad one.mp4"
    make(path)  # type: ignore[operator]
    with pytest.raises(FootageError) as caught:
        Footage(path)
    assert words in str(caught.value) and str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("suffix", "settings"),
    [
        (".mp4", {"container_options": {"movflags": "faststart"}}),
        (".mkv", {}),
        (".webm", {"codec": "libvpx", "options": {"deadline": "realtime", "auto-alt-ref": "1", "lag-in-frames": "9"}}),
    ],
)
def test_truncated_file_gives_what_is_there(suffix: str, settings: dict, tmp_path: Path) -> None:
    path = truncate(make_clip(tmp_path / f"cut{suffix}", frames=50, **settings), 0.5)
    footage = Footage(path)
    frames = list(footage.frames())
    assert 5 < len(frames) < 50 and len(frames) == footage.frame_count and footage.missing == []
    assert "missing" in footage.notes[0] and timecode(footage.end) in footage.notes[0]
    seen, _ = rewritten(path, tmp_path / "saved.mp4", Encoding("h264", "draft"))
    assert Footage(tmp_path / "saved.mp4").frame_count == len(seen)


def test_frames_that_cannot_be_decoded_are_left_out_and_listed(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "holes.mov", 40, codec="mjpeg", pix_fmt="yuvj420p", options={})
    with av.open(str(path)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    data, lost = bytearray(path.read_bytes()), [5, 6, 20, 39]
    for index in lost:
        place, size = packets[index]
        data[place : place + size] = bytes(size)
    path.write_bytes(data)
    footage = Footage(path)
    assert [frame.index for frame in footage.frames()] == [index for index in range(40) if index not in lost]
    assert footage.missing == lost


def test_times_that_are_odd(tmp_path: Path) -> None:
    """Edit lists that cut into a group of pictures, and streams that begin inside one."""
    source = make_clip(tmp_path / "whole.mp4", frames=60, options={"preset": "medium", "bf": "3", "g": "30"})
    for name, shift, skipped in (
        ("edit.mp4", Fraction(-3, 10), 0),
        ("later.mp4", Fraction(1, 3), 0),
        ("mid.mkv", 0, 9),
    ):
        with av.open(str(source)) as whole, av.open(str(tmp_path / name), "w") as part:
            stream = part.add_stream_from_template(whole.streams.video[0], opaque=True)
            for number, packet in enumerate(whole.demux(whole.streams.video[0])):
                if packet.size and number >= skipped:
                    assert packet.pts is not None and packet.dts is not None
                    packet.pts += round(shift / packet.time_base)
                    packet.dts += round(shift / packet.time_base)
                    packet.stream = stream
                    part.mux(packet)
        footage = Footage(tmp_path / name)
        frames = [frame.index for frame in footage.frames()]
        assert frames == list(range(footage.frame_count)) and 25 < len(frames) <= 60
        seen, _ = rewritten(tmp_path / name, tmp_path / f"{name}.copy.mp4")
        assert [f.time for f in Footage(tmp_path / f"{name}.copy.mp4").frames()] == [time for time, _ in seen]
