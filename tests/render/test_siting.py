from pathlib import Path

import numpy as np
import pytest

from render.video.encoding import Encoding
from render.video.planes import plane_views
from render.video.reader import Footage
from render.video.siting import Siting
from render.video.writer import VideoWriter
from tests.media import make_clip

KINDS: dict[str, tuple[str, dict, tuple[float, float]]] = {
    "untagged H.264": (".mp4", {}, (0, 0.5)),
    "untagged H.265": (".mp4", {"codec": "libx265"}, (0, 0.5)),
    "H.265 of UHD": (".mp4", {"codec": "libx265", "options": {"x265-params": "log-level=error:chromaloc=2"}}, (0, 0)),
    "untagged VP9": (".webm", {"codec": "libvpx-vp9", "options": {"deadline": "realtime"}}, (0, 0.5)),
    "untagged FFV1": (".mkv", {"codec": "ffv1", "options": {}}, (0, 0.5)),
    "FFV1 in the middle": (".mkv", {"codec": "ffv1", "options": {"chroma_sample_location": "center"}}, (0.5, 0.5)),
    "FFV1 at the top left": (".mkv", {"codec": "ffv1", "options": {"chroma_sample_location": "topleft"}}, (0, 0)),
    "ProRes": (".mov", {"codec": "prores_ks", "pix_fmt": "yuv422p10le", "options": {}}, (0, 0.5)),
    "Motion JPEG": (".avi", {"codec": "mjpeg", "pix_fmt": "yuvj420p", "options": {}}, (0.5, 0.5)),
    "4:4:4": (".mp4", {"pix_fmt": "yuv444p"}, (0, 0.5)),
    "rgb": (".mkv", {"codec": "ffv1", "pix_fmt": "bgr0", "options": {}}, (0, 0.5)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_chroma_lies_where_the_file_says_else_at_the_left(kind: str, tmp_path: Path) -> None:
    suffix, settings, place = KINDS[kind]
    footage = Footage(make_clip(tmp_path / f"clip{suffix}", frames=3, **settings))
    assert footage.siting == Siting(*place)


def test_reading_follows_the_siting(tmp_path: Path) -> None:
    """An edge between two chroma samples, seen in the luma columns around it."""
    for location, shown in (("left", [0, 0.5, 1]), ("center", [0, 0.25, 0.75])):
        options = {"level": "3", "chroma_sample_location": location}
        footage = Footage(make_clip(tmp_path / f"{location}.mkv", 1, (64, 64), codec="ffv1", options=options))
        frame = next(footage.frames())
        luma, cb, cr = plane_views(frame.picture)
        luma[:], cb[:], cr[:, :16], cr[:, 16:] = 80, 128, 128, 180
        row = frame.rgb[20, :, 0].astype(float)
        seen = (row[30:33] - row[0]) / (row[-1] - row[0])
        np.testing.assert_allclose(seen, shown, atol=0.02)


def test_two_pixels_are_enough(tmp_path: Path) -> None:
    assert Footage(make_clip(tmp_path / "tiny.mkv", 1, (2, 2), codec="ffv1", options={})).siting == Siting()


@pytest.mark.parametrize("location", ["left", "center", "topleft"])
@pytest.mark.parametrize("codec", ["h264", "h265", "ffv1"])
def test_the_siting_is_carried(codec: str, location: str, tmp_path: Path) -> None:
    """Through the writer: said as in the source, and read back so; where the file has no word for it, that is noted."""
    options = {"preset": "ultrafast", "chroma_sample_location": location}
    source = Footage(make_clip(tmp_path / "source.mp4", 2, options=options))
    for suffix in (".mkv", ".mp4"):
        with VideoWriter(source, tmp_path / f"out{suffix}", Encoding(codec, "draft")) as writer:
            for frame in source.frames():
                writer.write(frame)
        is_kept = Footage(writer.path).siting == source.siting
        assert is_kept == (suffix == ".mkv" or codec != "ffv1" or location == "left")
        assert ["chroma lies at" in note for note in writer.notes] == ([] if is_kept else [True])
