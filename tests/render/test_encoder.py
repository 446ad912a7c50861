"""Codec and format: as the source's, or the nearest that can be written, said."""

from pathlib import Path

import numpy as np
import pytest

from render.errors import OutputError
from render.video.encoder import PRORES_PROFILES, codec_like, encoded_format, suffix_like
from render.video.encoding import Encoding
from render.video.reader import Footage
from render.video.writer import VideoWriter
from tests.media import make_clip, rewritten


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


def test_a_file_that_holds_the_codec_is_chosen() -> None:
    chosen = [(".m4v", "prores"), (".MP4", "prores"), (".mov", "ffv1"), (".avi", "h264"), (".mkv", "ffv1")]
    assert [suffix_like(*one) for one in chosen] == [".mov", ".mov", ".mkv", ".mp4", ".mkv"]
