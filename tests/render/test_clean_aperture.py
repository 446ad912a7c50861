from fractions import Fraction
from itertools import product
from pathlib import Path

import av
import numpy as np
import pytest

from render.video.clean_aperture import WHOLE, CleanAperture, read_aperture, write_aperture
from render.video.container import matroska_header, open_media
from render.video.encoding import Encoding
from render.video.reader import Footage
from render.video.writer import VideoWriter
from tests.media import make_clip, picture

SIZE = (160, 120)
#: Of the coded picture; an even number of columns and rows less, off the middle.
CUT = CleanAperture(24, 8, 16, 12)
CLEAN = (120, 100)


def cropped(path: Path, cut: CleanAperture = CUT, **kind) -> Path:
    """A clip of 160x120 whose clean aperture is smaller."""
    assert write_aperture(make_clip(path, frames=3, size=SIZE, **kind), cut, *SIZE)
    return path


@pytest.mark.parametrize("cut", [CUT, CleanAperture(0, 0, 40, 0), CleanAperture(0, 7, 0, 0), CleanAperture(1, 0, 0, 0)])
@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_what_is_written_is_read(cut: CleanAperture, suffix: str, tmp_path: Path) -> None:
    assert Footage(cropped(tmp_path / f"a{suffix}", cut)).aperture == cut


def test_a_whole_picture_is_whole(tmp_path: Path) -> None:
    for suffix in (".mp4", ".mkv", ".avi"):
        footage = Footage(make_clip(tmp_path / f"a{suffix}", frames=2, size=SIZE))
        assert footage.aperture == WHOLE and (footage.width, footage.height) == SIZE
    assert read_aperture(b"", 160, 120) == WHOLE


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_the_clean_part_is_shown_and_its_places_lead_back(rotation: int, tmp_path: Path) -> None:
    upright = np.zeros((120, 160, 3), np.uint8)
    turned = rotation % 180 > 0
    upright = np.ascontiguousarray(np.rot90(upright)) if turned else upright
    coded = np.zeros((120, 160), bool)
    coded[40:48, 60:76] = True
    upright[np.rot90(coded, -rotation // 90)] = 255
    path = make_clip(tmp_path / "a.mp4", pictures=[upright] * 2, rotation=rotation)
    assert write_aperture(path, CUT, *SIZE)
    footage = Footage(path)
    assert (footage.width, footage.height) == (CLEAN[::-1] if turned else CLEAN)
    for frame in footage.frames(0, 1):
        assert frame.planes[0].shape == (120, 160)
        for shown in (frame.rgb, frame.preview):
            assert shown.shape[:2] == (footage.height, footage.width)
            place = np.argwhere(shown[..., 1] > 127).mean(0)[::-1] + 0.5
            assert np.abs(footage.coded_from_image @ [*place, 1.0] - [68, 44]).max() < 0.3


def test_oblong_pixels_are_drawn_out_after_cropping(tmp_path: Path) -> None:
    path = cropped(tmp_path / "a.mp4", context={"sample_aspect_ratio": Fraction(2)})
    footage = Footage(path)
    assert (footage.width, footage.height) == (240, 100)
    assert np.allclose(footage.coded_from_image @ [240, 100, 1], [160 - CUT.right, 120 - CUT.bottom])


@pytest.mark.parametrize(
    ("codec", "suffix"),
    [
        *product(("h264", "h265"), (".mp4", ".mov", ".mkv")),
        *product(("prores",), (".mov", ".mkv")),
        *product(("ffv1",), (".mp4", ".mkv")),
    ],
)
def test_tag_and_samples_are_kept_or_it_is_said(codec: str, suffix: str, tmp_path: Path) -> None:
    kind = {"pix_fmt": "yuv422p10le", "codec": "prores_ks"} if codec == "prores" else {}
    footage = Footage(cropped(tmp_path / "a.mov", **kind))
    out = tmp_path / f"out{suffix}"
    with VideoWriter(footage, out, Encoding(codec, "final")) as writer:
        for frame in footage.frames():
            writer.write(frame)
    result = Footage(out)
    assert (result.coded_width, result.coded_height) == SIZE
    if suffix == ".mkv":
        assert any("players show all of them; a .mov says it" in note for note in writer.notes)
    else:
        assert result.aperture == CUT and not any("aperture" in note for note in writer.notes)
    if codec == "ffv1":
        for old, new in zip(footage.frames(), result.frames(), strict=True):
            assert all(np.array_equal(a, b) for a, b in zip(old.planes, new.planes, strict=True))
    with av.open(str(out)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 3


def test_matroska_crops_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(cropped(tmp_path / "a.mp4"))) as source, av.open(str(path), "w") as output:
        stream = output.add_stream_from_template(source.streams.video[0], opaque=True)
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                output.mux(packet)
    footage = Footage(path)
    assert footage.aperture == CUT and (footage.width, footage.height) == CLEAN
    assert "120x100 are shown" in " ".join(footage.notes)


def test_a_file_without_such_a_video_is_left_as_it_is(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", frames=2, size=SIZE)
    before = path.read_bytes()
    assert not write_aperture(path, CUT, 161, 120)
    first = make_clip(tmp_path / "first.mp4", frames=2, size=SIZE, container_options={"movflags": "faststart"})
    assert not write_aperture(first, CUT, *SIZE) and Footage(first).aperture == WHOLE
    assert path.read_bytes() == before
    with open_media(path) as container:
        assert read_aperture(matroska_header(container.streams.video[0])[:90], *SIZE) == WHOLE


def test_pictures_are_views() -> None:
    rgb = picture(0, *SIZE)
    assert np.array_equal(CUT.of(rgb), rgb[8:108, 24:144]) and np.shares_memory(CUT.of(rgb), rgb)
