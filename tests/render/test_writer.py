"""Writing: what is written comes back, no half file is left, nothing is overwritten, refusals."""

import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from render.errors import FootageError, OutputError
from render.video.encoding import DeliveredSound, Encoding
from render.video.reader import Footage
from render.video.writer import VideoWriter
from tests.media import Sound, make_clip, rewritten

# Each kind of footage that comes in: name → arguments of `make_clip`.
KINDS: dict[str, dict] = {
    "23.976": {"rate": Fraction(24000, 1001), "sounds": [Sound()]},
    "29.97": {"rate": Fraction(30000, 1001)},
    "59.94": {"rate": Fraction(60000, 1001)},
    "variable": {"times": [0, 3, 4, 9, 20, 21, 22, 40], "time_base": Fraction(1, 90)},
    "late start": {"times": range(7, 27), "time_base": Fraction(1001, 30000), "sounds": [Sound(start=0.5)]},
    "rotated 90": {"rotation": 90},
    "rotated 180": {"rotation": 180},
    "rotated 270": {"rotation": 270},
    "10 bit": {"pix_fmt": "yuv420p10le"},
    "4:2:2": {"pix_fmt": "yuv422p"},
    "4:2:2 10 bit": {"pix_fmt": "yuv422p10le"},
    "4:4:4": {"pix_fmt": "yuv444p"},
    "full range": {"pix_fmt": "yuvj420p", "context": {"color_range": 2}},
    "odd size": {"size": (161, 121), "codec": "ffv1", "suffix": ".mkv"},
    "b-frames": {"frames": 40, "options": {"preset": "medium", "bf": "3", "g": "25"}},
    "transport stream": {"suffix": ".ts", "sounds": [Sound()]},
    "avi": {"suffix": ".avi", "codec": "mpeg4", "options": {"bf": "2"}, "sounds": [Sound("mp3")]},
    "1 a second": {"rate": 1},
    "240 a second": {"rate": 240},
    "gray": {"suffix": ".mkv", "codec": "ffv1", "pix_fmt": "gray"},
    "rgb planes, 10 bit": {"suffix": ".mkv", "codec": "ffv1", "pix_fmt": "gbrp10le"},
    "rgb with alpha": {"suffix": ".mov", "codec": "qtrle", "pix_fmt": "argb"},
    "flash": {"suffix": ".flv", "codec": "flv"},
    "feature phone": {"suffix": ".3gp", "codec": "h263", "size": (176, 144)},
    "recorder without cues": {
        "suffix": ".webm",
        "codec": "libvpx-vp9",
        "options": {"deadline": "realtime", "cpu-used": "8"},
        "container_options": {"live": "1"},
    },
    "rgb": {"suffix": ".mkv", "codec": "ffv1", "pix_fmt": "bgr0"},
}


def clip_of(kind: str, folder: Path) -> Path:
    settings = {"frames": 12, **KINDS[kind]}
    return make_clip(folder / f"Prüf clip{settings.pop('suffix', '.mp4')}", **settings)


@pytest.mark.parametrize("kind", KINDS)
def test_lossless_copy_is_identical(kind: str, tmp_path: Path) -> None:
    source = clip_of(kind, tmp_path)
    seen, writer = rewritten(source, tmp_path / "copy é.mp4")
    footage, copy = Footage(source), Footage(tmp_path / "copy é.mp4")
    read = [(frame.time, frame.planes) for frame in copy.frames()]
    assert [time for time, _ in read] == [time for time, _ in seen] and len(seen) == footage.frame_count
    for (_, before), (_, after) in zip(seen, read, strict=True):
        assert len(before) == len(after)
        for old, new in zip(before, after, strict=True):
            np.testing.assert_array_equal(old, new)
    assert copy.pix_fmt == footage.pix_fmt and copy.orientation == footage.orientation
    assert copy.colour.is_full_range == footage.colour.is_full_range and copy.colour.matrix == footage.colour.matrix
    assert copy.duration == pytest.approx(footage.duration, abs=1e-9)
    assert [a.start for a in copy.audio] == pytest.approx([a.start for a in footage.audio], abs=1e-3)
    # H.263 has its chroma at the centre, for which FFV1 in MP4 has no word: said, and nothing else.
    said = ["cannot say that chroma lies at center" in note for note in writer.notes]
    assert not list(tmp_path.glob(".*.part")) and said == [True] * (kind == "feature phone")


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_a_few_frames_of_h265_have_times(frames: int, tmp_path: Path) -> None:
    source = make_clip(tmp_path / "source.mp4", frames=frames)
    for number in range(6):  # wrong times came and went
        rewritten(source, tmp_path / f"{number}.mp4", Encoding("h265", "draft"))
        with av.open(str(tmp_path / f"{number}.mp4")) as container:
            stamps = [packet.dts for packet in container.demux(video=0) if packet.dts is not None]
        assert stamps == sorted(set(stamps)) and abs(stamps[0]) < 4 * 512


@pytest.mark.parametrize("interruption", [RuntimeError("boom"), KeyboardInterrupt()])
def test_no_half_file(interruption: BaseException, tmp_path: Path) -> None:
    footage = Footage(make_clip(tmp_path / "source.mp4", sounds=[Sound()]))
    (tmp_path / "kept.mp4").write_bytes(b"old")
    for name, overwrite in (("new.mp4", False), ("kept.mp4", True)):
        with pytest.raises(type(interruption)), VideoWriter(footage, tmp_path / name, overwrite=overwrite) as writer:
            for frame in footage.frames():
                writer.write(frame)
                if frame.index == 10:
                    raise interruption
    assert sorted(p.name for p in tmp_path.iterdir()) == ["kept.mp4", "source.mp4"]
    assert (tmp_path / "kept.mp4").read_bytes() == b"old"


def test_a_file_that_came_into_being_meanwhile_stays_and_so_does_the_result(tmp_path: Path) -> None:
    footage = Footage(make_clip(tmp_path / "source.mp4", frames=4))
    for number in (1, 2):
        with VideoWriter(footage, tmp_path / f"{number}.mp4", Encoding("h264", "draft")) as writer:
            for frame in footage.frames():
                writer.write(frame)
            for taken in ("1.mp4", "2.mp4", "2.1.mp4")[number - 1 : 2 * number - 1]:
                (tmp_path / taken).write_bytes(b"mine")
        assert writer.path.name == f"{number}.{number}.mp4" and Footage(writer.path).frame_count == 4
        assert writer.notes == [f"{number}.mp4 was made by somebody else meanwhile; this result is {writer.path.name}"]
        assert (tmp_path / f"{number}.mp4").read_bytes() == b"mine"


def test_refusals_to_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    footage = Footage(make_clip(tmp_path / "source.mp4", frames=4))
    (tmp_path / "there.mp4").write_bytes(b"")
    for path, words in (
        (tmp_path / "there.mp4", "exists already"),
        (tmp_path / "none" / "out.mp4", "there is no folder"),
        (tmp_path / "out.avi", "use .mp4, .mov or .mkv"),
    ):
        with pytest.raises(OutputError, match=words):
            VideoWriter(footage, path)
    with pytest.raises(OutputError, match="the source itself"):
        VideoWriter(footage, footage.path, overwrite=True)
    with pytest.raises(FootageError, match="no sound in it"):
        VideoWriter(footage, tmp_path / "out.mp4", sound=DeliveredSound([footage.path]))
    with pytest.raises(OutputError, match="no frame was written"):
        VideoWriter(footage, tmp_path / "out.mp4").close()
    writer = VideoWriter(footage, tmp_path / "out.mp4")
    frame = next(footage.frames())
    with pytest.raises(ValueError, match="planes must be uint8"):
        writer.write(frame, frame.planes[:2])

    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(writer, "_mux", full)
    with pytest.raises(OutputError, match="the disk is full"):
        writer.write(frame)
    writer.abandon()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["source.mp4", "there.mp4"]


def test_differing_sound_is_found_out(tmp_path: Path) -> None:
    footage = Footage(make_clip(tmp_path / "source.mp4", frames=6, sounds=[Sound()]))
    writer = VideoWriter(footage, tmp_path / "out.mp4")
    for frame in footage.frames():
        writer.write(frame)
    writer._feeds[0].streams[1].digest.update(b"x")
    with pytest.raises(OutputError, match="sound read back differs"):
        writer.close()
    assert not (tmp_path / "out.mp4").exists()
