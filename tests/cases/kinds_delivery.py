"""Pictures of other codecs, colours and sizes, and files that cannot hold what is asked for."""

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from render.video.reader import Footage
from tests.cases.case import Bench, case


def in_another_codec(bench: Bench, name: str, codec: str, pix_fmt: str, options: dict[str, str]) -> Path:
    """The synthetic actor's talk, encoded anew."""
    footage, path = Footage(bench.shared / "talking.mp4"), bench.folder / name
    with av.open(str(path), "w") as output:
        stream: Any = output.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.options = footage.width, footage.height, pix_fmt, options
        for frame in footage.frames():
            picture = frame.picture.reformat(format=pix_fmt)
            picture.pts, picture.time_base, picture.pict_type = frame.index, Fraction(1, 25), 0
            output.mux(stream.encode(picture))
        output.mux(stream.encode(None))
    return path


@case("codec", "vp9 becomes h264, with a note")
def vp9(bench: Bench) -> str:
    shot = in_another_codec(bench, "call.webm", "libvpx-vp9", "yuv420p", {"deadline": "realtime", "cpu-used": "8"})
    outcome = bench.dub(shot, bench.shared / "voice.wav")
    assert outcome.code == 0, outcome
    notes = json.loads((bench.folder / "out" / "qc.json").read_text())["notes"]
    assert any("vp9 cannot be written here; encoded as h264" in note for note in notes), notes
    return "dubbed as h264, and said so"


@case("codec", "prores asked for from an m4v goes into a mov")
def prores_from_m4v(bench: Bench) -> str:
    shot = bench.folder / "talk.m4v"
    shot.write_bytes((bench.shared / "talking.mp4").read_bytes())
    outcome = bench.dub(shot, bench.shared / "voice.wav", "--codec", "prores")
    assert outcome.code == 0, outcome
    assert Footage(bench.folder / "out" / "talk.dubbed.mov").codec == "prores"
    return "a .mov with ProRes"
