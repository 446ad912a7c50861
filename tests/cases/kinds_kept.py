"""What was there comes out: sound at its time, colours and sizes that play, other tracks, sounds of any kind."""

import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import soundfile

from render.video.reader import Footage
from tests.cases.case import Bench, case
from tests.cases.kinds_delivery import in_another_codec
from tests.cases.kinds_sound import RATE, checked, voice
from tests.media import Sound, make_clip, make_sound, with_telemetry

#: File → codec and rate of sounds that people send.
SOUNDS = {
    "voice.mp3": ("libmp3lame", 44_100),
    "voice.opus": ("libopus", 48_000),
    "voice.flac": ("flac", 96_000),
    "voice.aiff": ("pcm_s24be", 48_000),
    "voice.wav": ("pcm_alaw", 8_000),
    "voice.m4a": ("alac", 48_000),
    "voice.ac3": ("ac3", 48_000),
    "voice.wv": ("wavpack", 48_000),
}
#: File → codec, pixel format and settings of pictures that people send.
PICTURES = {
    "old.avi": ("mpeg4", "yuv420p", {}),
    "camera.avi": ("mjpeg", "yuvj422p", {}),
    "disc.mpg": ("mpeg2video", "yuv420p", {}),
    "phone.mp4": ("libx265", "yuv420p10le", {"x265-params": "log-level=error"}),
    "screen.mkv": ("libx264", "yuv444p", {"preset": "ultrafast"}),
    "grey.mp4": ("libx264", "gray", {"preset": "ultrafast"}),
    "rendered.mov": ("qtrle", "argb", {}),
    "archive.mkv": ("ffv1", "bgr0", {}),
    "edit.mov": ("prores_ks", "yuva444p10le", {"profile": "4444"}),
}


def dubbed(bench: Bench, shot: Path, *words: str | Path) -> tuple[Footage, list[str]]:
    """What a dub of a shot gives, and its notes."""
    outcome = bench.dub(shot, *words)
    assert outcome.code == 0, outcome
    notes = json.loads((bench.folder / "out" / "qc.json").read_text(encoding="utf-8"))["notes"]
    return Footage(next((bench.folder / "out").glob("*.dubbed.*"))), notes


@case("sound", "of any common kind")
def of_any_common_kind(bench: Bench) -> str:
    for name, (codec, rate) in SOUNDS.items():
        layout = "mono" if codec == "pcm_alaw" else "stereo"
        make_sound(bench.folder / name, Sound(codec, rate, layout, seconds=1.6))
        out = checked(bench, name).out
        assert "0:00:01." in out and f"{name}: " in out, out
    return f"{len(SOUNDS)} read"


@case("sound", "stereo that goes on as 5.1")
def stereo_then_surround(bench: Bench) -> str:
    halves = [Sound("ac3", layout=layout, seconds=0.8) for layout in ("stereo", "5.1")]
    parts = [make_sound(bench.folder / f"{number}.ac3", half) for number, half in enumerate(halves)]
    (bench.folder / "joined.ac3").write_bytes(b"".join(part.read_bytes() for part in parts))
    out = checked(bench, "joined.ac3").out
    assert "changes from stereo at 48000 Hz to 5.1(side) at 48000 Hz" in out, out
    return "read through, told with the time"


@case("sound", "that begins late is mixed late")
def a_late_sound(bench: Bench) -> str:
    """A click at 0.3 s of a sound that begins at 0.4 s."""
    click = np.zeros(round(1.2 * RATE))
    click[round(0.3 * RATE) : round(0.3 * RATE) + 480] = 0.8
    soundfile.write(bench.folder / "click.wav", 0.02 * voice(1.2) + click, RATE)
    with av.open(str(bench.folder / "click.wav")) as source, av.open(str(bench.folder / "late.mkv"), "w") as output:
        pictures = output.add_stream("ffv1", rate=25)
        pictures.width, pictures.height, pictures.pix_fmt = 32, 32, "yuv420p"
        sound = output.add_stream("pcm_s16le", rate=RATE, layout="mono")
        for index in range(40):
            picture = av.VideoFrame(32, 32, "yuv420p")
            picture.pts, picture.time_base = index, Fraction(1, 25)
            output.mux(pictures.encode(picture))
        output.mux(pictures.encode(None))
        for frame in source.decode(audio=0):
            frame.pts, frame.time_base = (frame.pts or 0) + round(0.4 * RATE), Fraction(1, RATE)
            output.mux(sound.encode(frame))
    result, _ = dubbed(bench, bench.shared / "talking.mp4", "late.mkv", "--deliver", "mix", "--on-mismatch", "pad")
    with av.open(str(result.path)) as container:
        frames = list(container.decode(audio=0))
        heard = np.concatenate([frame.to_ndarray()[0] for frame in frames])
        at = float(frames[0].time) + int(np.abs(heard).argmax()) / frames[0].sample_rate
    assert abs(at - 0.7) < 0.02, at
    return "heard when the mouth moves"


@case("pictures", "of any common kind")
def pictures_of_any_common_kind(bench: Bench) -> str:
    for name, (codec, pix_fmt, options) in PICTURES.items():
        outcome = bench.adapt("check", in_another_codec(bench, name, codec, pix_fmt, options))
        assert outcome.code == 0 and "person 1" in outcome.out, outcome
    return f"{len(PICTURES)} read, her face found in each"


@case("pictures", "of an odd size")
def an_odd_size(bench: Bench) -> str:
    rgb = [np.ascontiguousarray(frame.rgb[:319, :317]) for frame in Footage(bench.shared / "talking.mp4").frames()]
    settings = {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8"}}
    result, notes = dubbed(bench, make_clip(bench.folder / "tab.webm", pictures=rgb, **settings), "silence")
    assert (result.width, result.height, result.codec) == (317, 319, "h264"), vars(result)
    (note,) = [note for note in notes if "phones do not play; crop the shot to an even width and height" in note]
    return f"of that size; {note}"


@case("pictures", "whose colour tags mean nothing")
def tags_that_mean_nothing(bench: Bench) -> str:
    shot = in_another_codec(bench, "odd.mp4", "libx264", "yuv420p", {"preset": "ultrafast", "colorspace": "rgb"})
    result, _ = dubbed(bench, shot, "silence")
    with av.open(str(result.path)) as container:
        matrix = next(container.decode(video=0)).colorspace
    assert int(matrix) != 0, matrix
    return "read as what is usual, no matrix of RGB written on"


@case("streams", "telemetry beside chapters")
def telemetry_beside_chapters(bench: Bench) -> str:
    shot = bench.folder / "action.mp4"
    with_telemetry(shot, bench.shared / "talking.mp4", (0,), 1000, chapter_ms=(0, 800))
    result, _ = dubbed(bench, shot, "silence")
    with av.open(str(result.path)) as container:
        kept = b"".join(bytes(packet) for packet in container.demux(data=0) if packet.size)
        titles = [one["metadata"]["title"] for one in container.chapters()]
    assert b"DEVC" in kept and titles == ["Middle"], (kept, titles)
    return "both kept"
