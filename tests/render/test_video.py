import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.bitstream import BitStreamFilterContext

from render.errors import FootageError, OutputError
from render.video.container import timecode
from render.video.encoder import PRORES_PROFILES, codec_like, encoded_format, suffix_like
from render.video.encoding import DeliveredSound, Encoding
from render.video.reader import Footage
from render.video.writer import VideoWriter
from tests.media import Sound, hold_last, make_clip, make_sound, packets, picture, truncate

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


LOSSLESS = Encoding("ffv1")


def clip_of(kind: str, folder: Path) -> Path:
    settings = {"frames": 12, **KINDS[kind]}
    return make_clip(folder / f"Prüf clip{settings.pop('suffix', '.mp4')}", **settings)


def rewritten(
    source: Path, output: Path, encoding: Encoding = LOSSLESS, **settings: object
) -> tuple[list, VideoWriter]:
    footage = Footage(source)
    seen = []
    with VideoWriter(footage, output, encoding, **settings) as writer:  # type: ignore[arg-type]
        for frame in footage.frames():
            planes = frame.planes
            seen.append((frame.time, planes))
            writer.write(frame, planes)
    return seen, writer


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


@pytest.mark.parametrize(
    ("name", "sound", "container"),
    [
        ("voice.m4a", Sound(), ".mp4"),
        ("voice.mp3", Sound("mp3", rate=44100), ".mp4"),
        ("voice.wav", Sound("pcm_s16le", rate=44100, layout="mono"), ".mov"),
        ("voice.wav", Sound("pcm_s24le", rate=96000), ".mp4"),
        ("voice.ogg", Sound("libopus"), ".mp4"),
        ("voice.flac", Sound("flac", layout="5.1"), ".mkv"),
    ],
)
def test_delivered_sound_is_copied(name: str, sound: Sound, container: str, tmp_path: Path) -> None:
    footage = make_clip(tmp_path / "silent.mp4", frames=30)
    voice = make_sound(tmp_path / name, sound)
    output = tmp_path / f"out{container}"
    _, writer = rewritten(footage, output, Encoding("h264", "draft"), sound=DeliveredSound([voice]))
    assert packets(output) == packets(voice) and writer.notes == []
    assert Footage(output).audio[0].start == pytest.approx(0, abs=0.03)


def test_source_sound_and_several_files(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "two.mp4", frames=30, sounds=[Sound(layout="5.1"), Sound(start=0.4, language="fra")])
    rewritten(source, tmp_path / "kept.mp4", Encoding("h264", "draft"))
    for number in (0, 1):
        assert packets(tmp_path / "kept.mp4", number=number) == packets(source, number=number)
    kept = Footage(tmp_path / "kept.mp4")
    assert kept.audio[1].start == pytest.approx(Footage(source).audio[1].start, abs=1e-3)
    assert kept.audio[1].language == "fra"
    voices = [make_sound(tmp_path / "a.m4a"), make_sound(tmp_path / "b.wav", Sound("pcm_u8", rate=8000, layout="mono"))]
    _, writer = rewritten(source, tmp_path / "new.mp4", Encoding("h264", "draft"), sound=DeliveredSound(voices, 0.25))
    new = Footage(tmp_path / "new.mp4")
    assert [a.codec for a in new.audio] == ["aac", "aac"] and new.audio[0].start == pytest.approx(0.25, abs=0.03)
    assert packets(tmp_path / "new.mp4") == packets(voices[0])
    assert writer.notes == [
        "two.mp4: none of its 2 sound tracks is in the result",
        "b.wav: mp4 cannot hold pcm_u8; encoded anew as aac",
    ]


def test_tags_are_carried(tmp_path: Path) -> None:
    context = {
        "color_range": 1,
        "colorspace": 9,
        "color_primaries": 9,
        "color_trc": 16,
        "sample_aspect_ratio": Fraction(4, 3),
    }
    source = make_clip(
        tmp_path / "hdr.mp4", frames=6, codec="libx265", pix_fmt="yuv420p10le", context=context, metadata={"title": "A"}
    )
    for codec in ("h265", "ffv1"):
        rewritten(source, tmp_path / f"{codec}.mp4", Encoding(codec, "draft"), metadata={"comment": "altered"})
        footage = Footage(tmp_path / f"{codec}.mp4")
        colour = footage.colour
        assert (colour.tag_matrix, colour.tag_primaries, colour.tag_transfer, colour.tag_range) == (9, 9, 16, 1)
        assert footage.sample_aspect == Fraction(4, 3) and footage.bit_depth == 10
        assert (footage.metadata["title"], footage.metadata["comment"]) == ("A", "altered")


@pytest.mark.parametrize("reserved", [0, 3, 23])
def test_colour_tags_that_mean_nothing_are_not_written_on(reserved: int, tmp_path: Path) -> None:
    """The matrix of rgb, or a reserved number, on yuv: read as if nothing were said, and written so."""
    bits = f"colour_primaries={reserved}:transfer_characteristics={reserved}:matrix_coefficients={reserved}"
    plain = make_clip(tmp_path / "plain.mp4", frames=3, context={"colorspace": 5})
    with av.open(str(plain)) as container, av.open(str(tmp_path / "odd.mp4"), "w") as output:
        stream = output.add_stream_from_template(container.streams.video[0], opaque=True)
        change = BitStreamFilterContext(f"h264_metadata={bits}", container.streams.video[0], stream)
        for packet in [*container.demux(video=0), None]:
            for changed in change.filter(packet if packet is not None and packet.size else None):
                changed.stream = stream
                output.mux(changed)
            if packet is None or not packet.size:
                break
    footage = Footage(tmp_path / "odd.mp4")
    rewritten(footage.path, tmp_path / "out.mp4", Encoding("h264", "draft"))
    for colour in (footage.colour, Footage(tmp_path / "out.mp4").colour):
        assert (colour.matrix, colour.tag_matrix, colour.tag_primaries, colour.tag_transfer) == (5, 2, 2, 2)


@pytest.mark.parametrize("reserved", [0, 3, 23])
def test_nor_are_those_of_prores_pictures(reserved: int, tmp_path: Path) -> None:
    """Each ProRes picture says its own (SMPTE RDD 36, 5.1.1): three bytes, 14 after the header's size."""
    source = make_clip(tmp_path / "plain.mov", frames=3, codec="prores_ks", pix_fmt="yuv422p10le", options={})
    data, at = bytearray(source.read_bytes()), -1
    while (at := data.find(b"icpf", at + 1)) >= 0:
        data[at + 18 : at + 21] = bytes([reserved] * 3)
    source.write_bytes(data)
    with av.open(str(source)) as container:
        assert int(next(container.decode(video=0)).colorspace) == reserved
    rewritten(source, tmp_path / "out.mov", Encoding())
    matrix = Footage(source).colour.matrix
    with av.open(str(tmp_path / "out.mov")) as container:
        for picture in container.decode(video=0):
            assert (int(picture.colorspace), int(picture.color_primaries), int(picture.color_trc)) == (matrix, 2, 2)


def test_codec_and_format_choice(tmp_path: Path) -> None:
    assert encoded_format("yuv420p", 160, 120, "h264") == "yuv420p"
    assert encoded_format("yuv422p10le", 160, 120, "h265") == "yuv422p10le"
    assert encoded_format("yuv420p", 161, 121, "h264") == "yuv444p"  # odd sizes need full chroma there
    assert encoded_format("yuv420p12le", 160, 120, "h264") == "yuv420p10le"
    assert encoded_format("yuv420p", 160, 120, "prores") == "yuv422p10le"
    assert encoded_format("gbrp", 160, 120, "ffv1") == "bgr0"
    source = make_clip(tmp_path / "source.mp4", frames=4)
    assert codec_like(Footage(source)) == "h264"
    _, writer = rewritten(source, tmp_path / "out.mov", Encoding("prores"))
    assert Footage(tmp_path / "out.mov").pix_fmt == "yuv422p10le" and "encoded as yuv422p10le" in writer.notes[0]
    with pytest.raises(OutputError, match="cannot hold prores"):
        VideoWriter(Footage(source), tmp_path / "out.mp4", Encoding("prores"))
    assert not list(tmp_path.glob(".*.part"))


VP9 = {"codec": "libvpx-vp9", "options": {"deadline": "realtime"}}
DNXHR = {"codec": "dnxhd", "size": (256, 128), "pix_fmt": "yuv422p", "options": {"profile": "dnxhr_hq"}}
SVT = {"codec": "libsvtav1", "pix_fmt": "yuv420p10le", "options": {"preset": "12", "svtav1-params": "lp=1"}}


@pytest.mark.parametrize(
    ("name", "settings", "codec", "pix_fmt", "notes"),
    [
        ("vp9.webm", VP9, "h264", "yuv420p", ["vp9 cannot be written here; encoded as h264"]),
        ("av1.mkv", SVT, "hevc", "yuv420p10le", ["av1 cannot be written here; encoded as h265"]),
        ("dv.mov", DNXHR, "prores", "yuv422p10le", ["dnxhd cannot be written here; encoded as prores", "yuv422p10le"]),
        ("ut.avi", {"codec": "utvideo"}, "ffv1", "yuv420p", ["utvideo cannot be written here; encoded as ffv1"]),
        ("old.avi", {"codec": "mpeg4"}, "h264", "yuv420p", ["mpeg4 cannot be written here; encoded as h264"]),
        ("odd.webm", {**VP9, "size": (161, 121)}, "h264", "yuv444p", ["encoded as h264", "phones do not play; crop"]),
        ("argb.mov", {"codec": "qtrle", "pix_fmt": "argb"}, "prores", "yuva444p12le", ["encoded as prores", "yuva444"]),
        ("plain.mp4", {}, "h264", "yuv420p", []),
    ],
)
def test_what_cannot_be_written_becomes_the_nearest_and_that_is_said(
    name: str, settings: dict, codec: str, pix_fmt: str, notes: list[str], tmp_path: Path
) -> None:
    options = {"options": {}} if settings else {}
    source = Footage(make_clip(tmp_path / name, frames=4, **{**options, **settings}))
    output = tmp_path / f"out{suffix_like(source.path.suffix, codec_like(source))}"
    _, writer = rewritten(source.path, output, Encoding(None, "draft"))
    result = Footage(output)
    assert (result.codec, result.pix_fmt, result.frame_count) == (codec, pix_fmt, 4)
    assert len(writer.notes) == len(notes)
    for note, words in zip(writer.notes, notes, strict=True):
        assert words in note


@pytest.mark.parametrize("profile", ["proxy", "lt", "standard", "hq", "4444", "4444xq"])
def test_prores_keeps_its_profile_and_its_alpha(profile: str, tmp_path: Path) -> None:
    pix_fmt = "yuva444p10le" if "4444" in profile else "yuv422p10le"
    options = {"profile": profile}
    source = make_clip(tmp_path / "in.mov", frames=2, codec="prores_ks", pix_fmt=pix_fmt, options=options)
    rewritten(source, tmp_path / "out.mov", Encoding())
    old, new = Footage(source), Footage(tmp_path / "out.mov")
    assert (new.profile, new.pix_fmt) == (old.profile, old.pix_fmt) and old.profile is not None
    for before, after in zip(old.frames(), new.frames(), strict=True):
        if "4444" in profile:
            np.testing.assert_allclose(after.planes[3].astype(int), before.planes[3], atol=16)
    assert PRORES_PROFILES[old.profile] == profile


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_a_few_frames_of_h265_have_times(frames: int, tmp_path: Path) -> None:
    source = make_clip(tmp_path / "source.mp4", frames=frames)
    for number in range(6):  # wrong times came and went
        rewritten(source, tmp_path / f"{number}.mp4", Encoding("h265", "draft"))
        with av.open(str(tmp_path / f"{number}.mp4")) as container:
            stamps = [packet.dts for packet in container.demux(video=0) if packet.dts is not None]
        assert stamps == sorted(set(stamps)) and abs(stamps[0]) < 4 * 512


def test_a_file_that_holds_the_codec_is_chosen() -> None:
    chosen = [(".m4v", "prores"), (".MP4", "prores"), (".mov", "ffv1"), (".avi", "h264"), (".mkv", "ffv1")]
    assert [suffix_like(*one) for one in chosen] == [".mov", ".mov", ".mkv", ".mp4", ".mkv"]


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


def test_hdr_mastering_is_carried(tmp_path: Path) -> None:
    light = "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50):max-cll=1000,400"
    options = {"preset": "ultrafast", "x265-params": f"log-level=error:{light}"}
    source = make_clip(tmp_path / "hdr.mp4", frames=4, codec="libx265", pix_fmt="yuv420p10le", options=options)
    assert Footage(source).mastering == light
    for codec in ("h265", "h264"):
        _, writer = rewritten(source, tmp_path / f"{codec}.mp4", Encoding(codec, "draft"))
        assert Footage(writer.path).mastering == light and writer.notes == []
    _, writer = rewritten(source, tmp_path / "out.mkv", Encoding("ffv1"))
    assert writer.notes == ["the mastering display and light levels of HDR10 cannot be written with ffv1; left out"]


def test_dolby_vision_is_left_out_and_that_is_said(tmp_path: Path) -> None:
    options = {"preset": "ultrafast", "x265-params": "log-level=error"}
    tags = {"color_primaries": 9, "color_trc": 18, "colorspace": 9}
    source = make_clip(tmp_path / "hlg.mp4", 4, codec="libx265", pix_fmt="yuv420p10le", options=options, context=tags)
    described_as_dolby_vision(source)
    footage = Footage(source)
    assert footage.dynamic_hdr == ("Dolby Vision",)
    _, writer = rewritten(source, tmp_path / "out.mp4", Encoding(None, "draft"))
    assert writer.notes == ["Dolby Vision cannot be written here; left out, the result is plain HLG"]
    result = Footage(writer.path)
    assert result.colour.tag_transfer == 18 and result.dynamic_hdr == ()


def described_as_dolby_vision(path: Path) -> None:
    """Put a configuration record of profile 8.4 (Dolby's "Streams within the ISO base media file format") into mp4."""
    data = path.read_bytes()
    record = bytes([1, 0, 8 << 1, 4 << 3 | 0b101, 4 << 4]) + bytes(19)
    box = (8 + len(record)).to_bytes(4, "big") + b"dvvC" + record
    at = data.index(b"hvcC") - 4
    at += int.from_bytes(data[at : at + 4], "big")
    data = data[:at] + box + data[at:]
    for name in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"hev1"):
        start = data.index(name) - 4
        size = int.from_bytes(data[start : start + 4], "big") + len(box)
        data = data[:start] + size.to_bytes(4, "big") + data[start + 4 :]
    path.write_bytes(data)  # `moov` stands at the end, so that no offset changes


def test_subtitles_and_chapters_are_passed_on(tmp_path: Path) -> None:
    picture_file = make_clip(tmp_path / "plain.mp4", frames=50, sounds=[Sound(seconds=2)])
    (tmp_path / "text.srt").write_text("1\n00:00:00,500 --> 00:00:01,500\nHallo\n", encoding="utf-8")
    source = tmp_path / "full.mkv"
    chapter = {"id": 1, "start": 500, "end": 1500, "time_base": Fraction(1, 1000), "metadata": {"title": "Middle"}}
    with av.open(str(source), "w") as output:
        output.set_chapters([chapter])
        inputs = [av.open(str(path)) for path in (picture_file, tmp_path / "text.srt")]
        routes = [{s.index: output.add_stream_from_template(s, opaque=True) for s in i.streams} for i in inputs]
        for container, route in zip(inputs, routes, strict=True):
            for packet in container.demux():
                if packet.size:
                    packet.stream = route[packet.stream_index]
                    output.mux(packet)
            container.close()
    rewritten(source, tmp_path / "out.mkv", Encoding("h264", "draft"))
    copy = Footage(tmp_path / "out.mkv")
    assert [line.split()[1] for line in copy.streams] == ["video", "audio", "subtitle"]
    assert packets(tmp_path / "out.mkv", "subtitle") == packets(source, "subtitle") == b"Hallo"
    assert [c["metadata"]["title"] for c in copy.chapters] == ["Middle"]
    _, writer = rewritten(source, tmp_path / "out.mp4", Encoding("h264", "draft"))
    assert writer.notes == ["stream 2 of full.mkv: mp4 cannot hold it; left out"]


def test_telemetry_beside_chapters_is_passed_on(tmp_path: Path) -> None:
    """An action camera's data track stays, the chapters' own track is written once."""
    plain = make_clip(tmp_path / "plain.mp4", frames=50)
    source, block = tmp_path / "source.mp4", b"DEVC\0\1\0\4abcd"
    chapter = {"id": 1, "start": 500, "end": 1500, "time_base": Fraction(1, 1000), "metadata": {"title": "Middle"}}
    with av.open(str(plain)) as container, av.open(str(source), "w") as output:
        output.set_chapters([chapter])
        pictures = output.add_stream_from_template(container.streams.video[0], opaque=True)
        telemetry = output.add_data_stream("bin_data")
        telemetry.time_base = Fraction(1, 1000)
        for packet in container.demux(video=0):
            if packet.size:
                packet.stream = pictures
                output.mux(packet)
        for second in range(2):
            data = av.Packet(block)
            data.stream, data.time_base, data.duration = telemetry, Fraction(1, 1000), 1000
            data.pts = data.dts = 1000 * second
            output.mux(data)
    _, writer = rewritten(source, tmp_path / "out.mp4", Encoding("h264", "draft"))
    assert packets(tmp_path / "out.mp4", "data") == packets(source, "data") == 2 * block
    with av.open(str(tmp_path / "out.mp4")) as result:
        assert [stream.type for stream in result.streams] == ["video", "data", "data"]
        assert [one["metadata"]["title"] for one in result.chapters()] == ["Middle"]
    assert writer.notes == []
    _, writer = rewritten(source, tmp_path / "out.mkv", Encoding("h264", "draft"))
    assert writer.notes == ["stream 1 of source.mp4: matroska cannot hold it; left out"]


def test_telemetry_without_times_is_left_out_and_that_is_said(tmp_path: Path) -> None:
    """FFmpeg sets such a track aside, as it does that of chapters."""
    plain, source = make_clip(tmp_path / "plain.mp4", frames=4), tmp_path / "source.mp4"
    with av.open(str(plain)) as container, av.open(str(source), "w") as output:
        pictures = output.add_stream_from_template(container.streams.video[0], opaque=True)
        telemetry = output.add_data_stream("bin_data")
        telemetry.time_base = Fraction(1, 1000)
        for packet in container.demux(video=0):
            if packet.size:
                packet.stream = pictures
                output.mux(packet)
        for _ in range(2):
            data = av.Packet(b"DEVC\0\1\0\4abcd")
            data.stream, data.time_base, data.pts, data.dts, data.duration = telemetry, Fraction(1, 1000), 0, 0, 0
            output.mux(data)
    _, writer = rewritten(source, tmp_path / "out.mp4", Encoding("h264", "draft"))
    assert writer.notes == ["stream 1 of source.mp4: its data carry no times and cannot be read; left out"]
