"""Encoder: which of FFmpeg's encoders writes a footage's pictures, in which pixel format, and with what options.

In: the source's facts, and the codec and quality asked for. Out: names and options for PyAV, what fits into which file,
and a sentence for everything that gets lost.
"""

from __future__ import annotations

from dataclasses import dataclass

import av
import torch

from render.video.encoding import QUALITIES, Encoding
from render.video.reader import Footage

FORMATS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}
#: What a file cannot hold → the suffix of one that can.
MISFITS = {("mp4", "prores"): ".mov", ("mov", "ffv1"): ".mkv"}


@dataclass(frozen=True)
class Encoder:
    """One way to encode: FFmpeg's encoder, and its options per quality."""

    name: str
    options: dict[str, dict[str, str]]


def _presets(*steps: tuple[str, str]) -> dict[str, dict[str, str]]:
    return {q: {"preset": preset, "crf": crf} for q, (preset, crf) in zip(QUALITIES, steps, strict=True)}


FFV1 = {"level": "3", "slices": "4", "slicecrc": "1", "g": "1"}
ENCODERS = {
    "h264": Encoder("libx264", _presets(("veryfast", "23"), ("faster", "14"), ("slow", "10"))),
    "h265": Encoder("libx265", _presets(("ultrafast", "25"), ("superfast", "14"), ("fast", "10"))),
    "ffv1": Encoder("ffv1", {quality: FFV1 for quality in QUALITIES}),
    "prores": Encoder(
        "prores_ks",
        {"draft": {"profile": "proxy"}, "standard": {"profile": "hq"}, "final": {"profile": "hq"}},
    ),
}
CODEC_OF_SOURCE = {"h264": "h264", "hevc": "h265", "ffv1": "ffv1", "prores": "prores"}
#: Every frame by itself, for editing; and without loss.
EDITING = {"dnxhd", "cfhd", "v210", "v410", "r210", "qtrle", "png", "jpeg2000", "dvvideo"}
LOSSLESS = {"huffyuv", "ffvhuff", "utvideo", "magicyuv", "lagarith", "rawvideo"}
X265_DELAY = 2  # frames
#: Perceptual quantiser and hybrid log-gamma (ITU-T H.273, table 3).
PQ, HLG = 16, 18
#: FFmpeg's names of ProRes profiles as a reader's and as a writer's option.
PRORES_PROFILES = {"Proxy": "proxy", "LT": "lt", "Standard": "standard", "HQ": "hq", "4444": "4444", "XQ": "4444xq"}


def codec_like(footage: Footage) -> str:
    """The codec of the source's own family, else the nearest that is written here.

    What is for editing becomes ProRes, what is without loss FFV1, other than 8-bit SDR H.265, and all else H.264.
    """
    if footage.codec in CODEC_OF_SOURCE:
        return CODEC_OF_SOURCE[footage.codec]
    if footage.codec in EDITING:
        return "prores"
    if footage.codec in LOSSLESS:
        return "ffv1"
    return "h265" if footage.bit_depth > 8 or footage.colour.tag_transfer in (PQ, HLG) else "h264"


def suffix_like(suffix: str, codec: str) -> str:
    """The suffix of a file that holds `codec`: the source's own `suffix` where it can be, else the nearest."""
    suffix = suffix.lower() if suffix.lower() in FORMATS else ".mp4"
    return MISFITS.get((FORMATS[suffix], codec), suffix)


def encoder_options(footage: Footage, codec: str, quality: str, pix_fmt: str) -> dict[str, str]:
    """FFmpeg's options for the encoder of `codec`, which gets pictures of `pix_fmt`."""
    options = dict(ENCODERS[codec].options[quality])
    if codec == "prores":
        kept = PRORES_PROFILES.get(footage.profile or "", "") if footage.codec == "prores" else ""
        if "444" in pix_fmt:
            options["profile"] = "4444xq" if kept == "4444xq" else "4444"
        elif kept and "4444" not in kept and quality != "draft":
            options["profile"] = kept
    if footage.siting.location != "left" and codec != "prores" and _Shape.of(pix_fmt, 2, 2).chroma == (32, 32):
        options["chroma_sample_location"] = footage.siting.location  # the left is what goes without saying
    asm = ""
    if codec == "h264" and torch.backends.cpu.get_cpu_capability() == "AVX512":
        asm = "asm=AVX2"  # its AVX-512 code does not give the same bytes every time
    light = footage.mastering.replace("master-display", "mastering-display").replace("max-cll", "cll")
    if codec == "h264" and (asm or light):
        options["x264-params"] = ":".join(filter(None, [asm, light]))
    if codec == "h265":
        # Frames as few as it holds back to put them in order would get times from memory that nothing was written to.
        order = "bframes=0" if footage.frame_count <= X265_DELAY else ""
        options["x265-params"] = ":".join(filter(None, ["log-level=error", order, footage.mastering]))
    return options


def losses(footage: Footage, encoding: Encoding, codec: str, pix_fmt: str) -> list[str]:
    """A sentence for everything of the source's pictures that `codec` in `pix_fmt` does not keep."""
    notes = []
    if encoding.codec is None and footage.codec not in CODEC_OF_SOURCE:
        notes.append(f"{footage.codec} cannot be written here; encoded as {codec}, choose another with --codec")
    if pix_fmt not in (footage.pix_fmt, "bgr0", "bgra"):
        old, new = (_Shape.of(name, footage.coded_width, footage.coded_height) for name in (footage.pix_fmt, pix_fmt))
        note = f"{codec} cannot hold {footage.pix_fmt} at this size: encoded as {pix_fmt}"
        if old.has_alpha and not new.has_alpha:
            note += ", without its transparency"
        if codec in ("h264", "h265") and old.cuts_size:
            note += ", which browsers and phones do not play; crop the shot to an even width and height first"
        notes.append(note)
    if footage.mastering and codec in ("ffv1", "prores"):
        notes.append(f"the mastering display and light levels of HDR10 cannot be written with {codec}; left out")
    for kind in footage.dynamic_hdr:
        rest = {PQ: "plain HDR10", HLG: "plain HLG"}.get(footage.colour.tag_transfer, "what its tags say")
        notes.append(f"{kind} cannot be written here; left out, the result is {rest}")
    return notes


def encoded_format(pix_fmt: str, width: int, height: int, codec: str) -> str:
    """The encoder's pixel format nearest to `pix_fmt`: never less sampling, depth only where it has no more.

    Encoders other than FFV1 hold odd sizes in 4:4:4 alone.
    """
    offered = [f.name for f in av.Codec(ENCODERS[codec].name, "w").video_formats or ()]
    if codec == "ffv1" and pix_fmt in ("gbrp", "gbrap"):
        return {"gbrp": "bgr0", "gbrap": "bgra"}[pix_fmt]
    source = _Shape.of(pix_fmt, width, height)
    shapes = [_Shape.of(name, width, height) for name in offered if "yuvj" not in name and not name.startswith("nv")]
    fitting = [s for s in shapes if codec == "ffv1" or not s.cuts_size]
    return min(fitting, key=source.loss_in).name


@dataclass(frozen=True)
class _Shape:
    """What a pixel format can hold, for comparing two of them."""

    name: str
    bits: int
    is_rgb: bool
    components: int
    chroma: tuple[int, int]
    cuts_size: bool

    @staticmethod
    def of(name: str, width: int, height: int) -> _Shape:
        form = av.VideoFormat(name, 64, 64)
        parts = form.components
        colour = 1 if len(parts) > 2 else 0
        chroma = (parts[colour].width, parts[colour].height)
        cuts = bool(chroma[0] < 64 and width % (64 // chroma[0]) or chroma[1] < 64 and height % (64 // chroma[1]))
        return _Shape(name, parts[0].bits, form.is_rgb, len(parts), chroma, cuts)

    @property
    def has_alpha(self) -> bool:
        """Whether it says how much of each pixel is seen."""
        return self.components in (2, 4)

    def loss_in(self, other: _Shape) -> tuple[bool, ...] | tuple[int, ...]:
        """Sorts formats: first by what would be lost, worst first, then by what would be wasted."""
        fewer_samples = other.chroma[0] < self.chroma[0] or other.chroma[1] < self.chroma[1]
        no_colour = other.components < 3 <= self.components
        no_alpha = self.has_alpha and not other.has_alpha
        waste = abs(other.bits - self.bits) + other.chroma[0] + other.chroma[1] + 8 * other.components
        return (no_colour, self.is_rgb != other.is_rgb, fewer_samples, max(0, self.bits - other.bits), no_alpha, waste)
