"""Splicing: copied packets beside encoded ones; what is not plain is not spliced; what reads back wrong is found."""

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from weakref import WeakSet

import av
import numpy as np
import pytest

from render.errors import OutputError
from render.splicing.joins import SpliceError, refuse_wrong_joins
from render.splicing.parameter_sets import Header, SequenceSet, units_of_stream
from render.splicing.spliced_writer import SplicedWriter
from render.splicing.stretches import (
    Splice,
    Stretch,
    _breaks,
    _h264_options,
    _stretches,
    most_reordered,
    plan_splice,
)
from render.video.encoding import DeliveredSound, Encoding
from render.video.reader import Footage, Frame
from tests.media import Sound, make_clip, make_sound

SIZE = (64, 48)
#: Frames that are turned over, and kinds of footage that they lie in: what `make_clip` and `av` are told.
CHANGED = range(30, 36)
KINDS: dict[str, dict] = {
    "as encoded by default": {"options": {"g": "12", "sc_threshold": "0"}},
    "without b-frames": {"options": {"g": "12", "sc_threshold": "0", "bf": "0"}, "sounds": [Sound(seconds=3.0)]},
    "one picture waits": {"options": {"g": "12", "sc_threshold": "0", "x264-params": "b-pyramid=none"}},
    "other settings": {
        "options": {"g": "12", "sc_threshold": "0", "x264-params": "ref=1:cabac=0:bframes=0:8x8dct=0:weightp=0"}
    },
    "baseline": {"options": {"g": "12", "sc_threshold": "0", "profile": "baseline"}},
    "main": {"options": {"g": "12", "sc_threshold": "0", "profile": "main"}, "rotation": 90},
    "10 bit": {"options": {"g": "12", "sc_threshold": "0"}, "pix_fmt": "yuv420p10le"},
    "4:4:4": {"options": {"g": "12", "sc_threshold": "0"}, "pix_fmt": "yuv444p", "suffix": ".mov"},
    "matroska": {"options": {"g": "12", "sc_threshold": "0"}, "suffix": ".mkv", "sounds": [Sound(seconds=3.0)]},
    "full range, oblong": {
        "options": {"g": "12", "sc_threshold": "0"},
        "pix_fmt": "yuvj420p",
        "context": {"color_range": 2, "sample_aspect_ratio": Fraction(4, 3)},
    },
    "colours": {
        "options": {"g": "12", "sc_threshold": "0"},
        "context": {"colorspace": 1, "color_range": 1, "color_primaries": 1, "color_trc": 1},
    },
    "variable": {
        "options": {"g": "12", "sc_threshold": "0"},
        "times": np.cumsum([1 + n % 3 for n in range(60)]).tolist(),
        "time_base": Fraction(1, 90),
    },
    "every picture by itself": {"options": {"g": "1"}, "pix_fmt": "yuv422p10le", "suffix": ".mov"},
    "prores": {
        "codec": "prores_ks",
        "pix_fmt": "yuv422p10le",
        "options": {"profile": "lt"},
        "suffix": ".mov",
        "metadata": {"timecode": "10:11:12:13"},
    },
}


def source_of(kind: str, folder: Path) -> Path:
    settings = {"frames": 60, "size": SIZE, **KINDS[kind]}
    return make_clip(folder / f"source{settings.pop('suffix', '.mp4')}", **settings)


def spliced(source: Path, output: Path, changed: range = CHANGED, **settings: object) -> SplicedWriter:
    """Write a video whose changed frames are turned over."""
    footage = Footage(source)
    splice = plan_splice(footage, changed, output, Encoding())
    assert splice is not None
    with SplicedWriter(splice, footage, output, **settings) as writer:  # type: ignore[arg-type]
        for stretch in splice.stretches:
            for frame in footage.frames(stretch.start, stretch.stop) if not stretch.is_copied else ():
                planes = [np.ascontiguousarray(plane[::-1]) for plane in frame.planes]
                writer.write(frame, planes if frame.index in changed else None)
    return writer


def packets_of(path: Path) -> list[tuple[Fraction, bytes]]:
    with av.open(str(path)) as container:
        found = [packet for packet in container.demux(video=0) if packet.size]
        times = [packet.dts for packet in found if packet.dts is not None]
        assert times == sorted(set(times))
        return [(packet.pts * packet.time_base, bytes(packet)) for packet in found]


@pytest.mark.parametrize("kind", KINDS)
def test_what_does_not_change_is_the_source_to_the_byte_and_decodes_so_from_everywhere(
    kind: str, tmp_path: Path
) -> None:
    source = source_of(kind, tmp_path)
    output = tmp_path / f"out{source.suffix}"
    writer = spliced(source, output)
    # Where pictures wait for others, encoding may begin some frames earlier.
    first, last = writer.splice.stretches[0].stop, 36
    waits = kind not in ("without b-frames", "other settings", "baseline", "every picture by itself", "prores")
    assert 26 <= first <= 30 if waits else first == 30
    assert writer.splice.stretches == (Stretch(0, first, True), Stretch(first, last, False), Stretch(last, 60, True))
    assert writer.splice.copied == 60 - (last - first)
    before, after = packets_of(source), packets_of(output)
    assert before[:first] == after[:first] and before[last:] == after[last:]
    assert all(old[1] != new[1] for old, new in zip(before[first:last], after[first:last], strict=True))
    footage, result = Footage(source), Footage(output)
    assert [float(time) for time in result.timestamps] == [float(time) for time in footage.timestamps]
    assert result.duration == pytest.approx(footage.duration, abs=1e-9)
    assert (result.pix_fmt, result.orientation, result.colour) == (footage.pix_fmt, footage.orientation, footage.colour)
    assert result.sample_aspect == footage.sample_aspect and result.profile == footage.profile
    assert result.nominal_rate == footage.nominal_rate and np.array_equal(result.durations, footage.durations)
    assert result.video_metadata.get("timecode") == footage.video_metadata.get("timecode")
    assert ("timecode" in result.video_metadata) == (kind == "prores")
    for start in (0, 20, first - 1, first, first + 3, last - 1, last, last + 7, 59):
        pairs = zip(footage.frames(start), result.frames(start), strict=True)
        for old, new in pairs:
            if not first <= old.index < last:
                assert all(np.array_equal(*planes) for planes in zip(old.planes, new.planes, strict=True))
                continue
            luma = old.planes[0][::-1] if old.index in CHANGED else old.planes[0]
            error = np.abs(luma.astype(int) - new.planes[0]).mean() / (1 << footage.bit_depth)
            assert error < 0.012


def test_in_matroska_the_last_picture_lasts_as_long_as_the_source_s_where_it_is_stored_in_another_place(
    tmp_path: Path,
) -> None:
    options = {"g": "12", "sc_threshold": "0", "bf": "1", "b_strategy": "0"}
    times = [*range(0, 40 * 58, 40), 40 * 60]  # the last but one is held
    source = make_clip(
        tmp_path / "source.mkv", size=SIZE, times=times, time_base=Fraction(1, 1000), rate=25, options=options
    )
    stored = [float(time) for time, _ in packets_of(source)]
    assert stored[-1] < stored[-2], "the source stores the picture that is shown last before another one"
    writer = spliced(source, tmp_path / "out.mkv", range(58, 59))
    assert writer.splice.stretches[-1].stop == 59 and not writer.splice.stretches[-1].is_copied
    footage, result = Footage(source), Footage(tmp_path / "out.mkv")
    assert np.array_equal(result.durations, footage.durations)
    assert result.nominal_rate == footage.nominal_rate


def test_frames_are_compared_one_at_a_time_where_a_group_is_as_long_as_the_file(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "source.mp4", 60, SIZE, options={"g": "1000", "sc_threshold": "0", "bf": "0"})
    writer = spliced(source, tmp_path / "out.mp4", range(50, 51))
    assert writer.splice.stretches == (Stretch(0, 50, True), Stretch(50, 60, False))
    alive, most = WeakSet[Frame](), 0

    class Counted(Footage):
        def frames(self, start: int = 0, end: int | None = None) -> Iterator[Frame]:
            nonlocal most
            for frame in super().frames(start, end):
                alive.add(frame)
                most = max(most, len(alive))
                yield frame

    refuse_wrong_joins(Counted(source), Counted(tmp_path / "out.mp4"), writer.splice, {})
    assert 2 <= most <= 4


def test_many_stretches_and_sound_that_is_delivered(tmp_path: Path) -> None:
    source = source_of("without b-frames", tmp_path)
    voice = make_sound(tmp_path / "voice.wav", Sound("pcm_s16le", seconds=2.0))
    footage, output = Footage(source), tmp_path / "out.mp4"
    splice = plan_splice(footage, [0, 24, 59], output, Encoding())
    assert splice and [one.is_copied for one in splice.stretches] == [False, True, False, True, False]
    with SplicedWriter(splice, footage, output, sound=DeliveredSound([voice])) as writer:
        for start, stop in ((0, 12), (24, 36), (59, 60)):
            for frame in footage.frames(start, stop):
                writer.write(frame)
    result = Footage(output)
    assert writer._header
    kept = [SequenceSet.of(unit).references for unit in writer._header.sequence_sets]
    assert kept[0] == kept[1] == 3, "a decoder has no reason to drop pictures at a join"
    assert result.frame_count == 60 and result.audio[0].duration == pytest.approx(2.0, abs=0.05)
    assert packets_of(source)[12:24] == packets_of(output)[12:24]
    again = plan_splice(result, [13], tmp_path / "again.mp4", Encoding())
    assert again and again.header and len(again.header.sequence_sets) == 2, "what was spliced is spliced again"
    assert again.options["x264-params"].startswith("sps-id=2:")
    spliced(output, tmp_path / "again.mp4", range(13, 14))
    assert packets_of(tmp_path / "again.mp4")[24:] == packets_of(output)[24:]


def test_only_what_is_plain_is_spliced(tmp_path: Path) -> None:
    def planned(path: Path, output: str = "out.mp4", codec: str | None = None, changed: range = CHANGED) -> object:
        return plan_splice(Footage(path), changed, tmp_path / output, Encoding(codec))

    plain = source_of("as encoded by default", tmp_path)
    assert planned(plain) and planned(plain, "out.mov")
    assert planned(plain, "out.mkv") is None, "times are counted otherwise there"
    assert planned(plain, codec="h264") is None, "a codec that is asked for is for all frames"
    assert planned(plain, changed=range(0, 60)) is None
    options = {"g": "12", "sc_threshold": "0", "x264-params": "open-gop=1"}
    openly = make_clip(tmp_path / "open.mp4", 60, SIZE, options=options)
    assert planned(openly, changed=range(3)) is None, "pictures shown before a key frame may need what comes before it"
    whole = planned(openly)
    assert isinstance(whole, Splice) and whole.stretches[-1].stop == 60 and not whole.stretches[-1].is_copied
    other = make_clip(tmp_path / "hevc.mp4", 24, SIZE, codec="libx265")
    assert planned(other, changed=range(2)) is None
    stream = make_clip(tmp_path / "clip.ts", 60, SIZE, options={"g": "12", "sc_threshold": "0"})
    assert planned(stream) is None


def test_what_reads_back_wrong_is_found_and_leaves_nothing(tmp_path: Path) -> None:
    source = source_of("without b-frames", tmp_path)
    footage, output = Footage(source), tmp_path / "out.mp4"
    splice = plan_splice(footage, CHANGED, output, Encoding())
    assert splice is not None
    with pytest.raises(SpliceError, match="cannot be decoded"), SplicedWriter(splice, footage, output) as writer:
        for frame in footage.frames(30, 35):
            writer.write(frame)
    with pytest.raises(SpliceError, match="is not the one that was encoded"):
        with SplicedWriter(splice, footage, output) as writer:
            for frame in footage.frames(30, 36):
                writer.write(frame)
            writer._near_joins[31] = 255 - writer._near_joins[31]
    wrong = replace(splice, header=replace(splice.header, picture_sets=(b"\x68\xce\x01\xa8",)))
    with pytest.raises(OutputError), SplicedWriter(wrong, footage, output) as writer:
        for frame in footage.frames(30, 36):
            writer.write(frame)
    assert [path.name for path in tmp_path.iterdir()] == ["source.mp4"]


def test_heads_and_sets() -> None:
    # 64x48, high profile at level 1.0, 4 references, of which two may wait: written by hand from 7.3.2.1.1.
    bits = "01100100000000000000101010101100001011011001010"
    bits += "001000111101100000001011011100000001000000100000001100"
    bits += "0" * (-len(bits) % 8)
    unit = b"\x67" + int(bits, 2).to_bytes(len(bits) // 8, "big")
    read = SequenceSet.of(unit)
    assert (read.number, read.profile, read.references, read.is_of_frames) == (0, 100, 4, True)
    assert read.pictures == (1, 0, 0, 0, 3, 2, 0, 0, 0, 0) and read.shown == (1, 1, (1, 2, 3), (0, 0))
    data = b"\x01\x64\x00\x0a\xff\xe1" + len(unit).to_bytes(2, "big") + unit + b"\x01\x00\x02\x68\xee\xfd\xf8\xf8\x00"
    header = Header.of(data)
    assert header and header.data == data and header.free_number == 1 and header.length_size == 4
    assert _h264_options(header, 0) is not None
    assert _h264_options(replace(header, length_size=2), 0) is None, "a picture of 64 kB could not be written"
    assert Header.of(data[:20]) is None and Header.of(b"\0\0\0\1\x67") is None and Header.of(None) is None
    stream = b"\0\0\0\1\x09\x10\0\0\1\x65\x88\x80\0\0\0\1\x41\x9a"
    assert units_of_stream(stream) == [b"\x09\x10", b"\x65\x88\x80", b"\x41\x9a"]
    assert list(header.units(header.packed(stream))) == units_of_stream(stream)
    assert header.with_sets([unit, b"\x68\xee"]) is None, "its number is taken"


def test_encoding_begins_where_nothing_stored_later_is_shown_earlier_and_ends_where_decoding_can_begin() -> None:
    starts, breaks = [0, 10, 20, 30], list(range(0, 40, 2))
    for changed, wanted in (
        ({15}, [(0, 14, True), (14, 20, False), (20, 40, True)]),
        ({0}, [(0, 10, False), (10, 40, True)]),
        ({15, 25}, [(0, 14, True), (14, 20, False), (20, 24, True), (24, 30, False), (30, 40, True)]),
        ({15, 20, 39}, [(0, 14, True), (14, 30, False), (30, 38, True), (38, 40, False)]),
        (set(range(40)), [(0, 40, False)]),
    ):
        assert _stretches(starts, breaks, changed, 40) == tuple(Stretch(*one) for one in wanted)
    assert _breaks([0, 3, 1, 2, 4, 7, 5, 6]) == [0, 1, 4, 5]


def test_how_far_pictures_are_reordered() -> None:
    assert most_reordered([0, 1, 2, 3]) == 0
    assert most_reordered([0, 3, 1, 2, 6, 4, 5]) == 1
    assert most_reordered([0, 4, 2, 1, 3]) == 2
