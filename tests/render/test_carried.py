"""What a result keeps of its source beside the pictures: sound, tags, HDR, subtitles, chapters, data."""

from fractions import Fraction
from pathlib import Path

import av
import pytest
from av.bitstream import BitStreamFilterContext

from render.video.encoding import DeliveredSound, Encoding
from render.video.reader import Footage
from tests.media import TELEMETRY, Sound, make_clip, make_sound, packets, rewritten, with_telemetry


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
    plain, source = make_clip(tmp_path / "plain.mp4", frames=50), tmp_path / "source.mp4"
    with_telemetry(source, plain, (0, 1000), 1000, chapter_ms=(500, 1500))
    _, writer = rewritten(source, tmp_path / "out.mp4", Encoding("h264", "draft"))
    assert packets(tmp_path / "out.mp4", "data") == packets(source, "data") == 2 * TELEMETRY
    with av.open(str(tmp_path / "out.mp4")) as result:
        assert [stream.type for stream in result.streams] == ["video", "data", "data"]
        assert [one["metadata"]["title"] for one in result.chapters()] == ["Middle"]
    assert writer.notes == []
    _, writer = rewritten(source, tmp_path / "out.mkv", Encoding("h264", "draft"))
    assert writer.notes == ["stream 1 of source.mp4: matroska cannot hold it; left out"]


def test_telemetry_without_times_is_left_out_and_that_is_said(tmp_path: Path) -> None:
    """FFmpeg sets such a track aside, as it does that of chapters."""
    plain, source = make_clip(tmp_path / "plain.mp4", frames=4), tmp_path / "source.mp4"
    with_telemetry(source, plain, (0, 0), 0)
    _, writer = rewritten(source, tmp_path / "out.mp4", Encoding("h264", "draft"))
    assert writer.notes == ["stream 1 of source.mp4: its data carry no times and cannot be read; left out"]
