"""Kinds of picture streams: several, unknown, changing on the way, of fields, of few frames, at odd rates."""

from pathlib import Path

import cv2
import numpy as np

from render.video.clean_aperture import CleanAperture, write_aperture
from render.video.reader import Footage
from tests.cases.case import Bench, case
from tests.media import Sound, hold_last, make_clip, make_sound, make_voice, put_together, without_decoder

#: What x264 needs to flag pictures as two fields.
FIELDS = {"preset": "ultrafast", "x264-params": "tff=1"}
#: Bytes before a Flash file's first tag.
FLASH_HEADER = 13


def told(bench: Bench, path: Path, *words: str) -> str:
    """What `adapt check` says of a file, which it must be able to look at."""
    outcome = bench.adapt("check", path, *words)
    assert outcome.code == 0, outcome
    return outcome.out


def refused(bench: Bench, path: Path, *words: str) -> str:
    """The line with which every command refuses a file, less the file's name."""
    outcomes = [
        bench.adapt("check", path, *words),
        bench.adapt("track", path, "-o", bench.folder / "tracks", *words),
        bench.adapt("dub", path, "silence", "-o", bench.folder / "out", *words),
    ]
    lines = {outcome.line for outcome in outcomes}
    assert all(outcome.is_refusal for outcome in outcomes) and len(lines) == 1, outcomes
    assert not (bench.folder / "out").exists()
    return lines.pop().partition(f"{path}: ")[2]


@case("unknown codec", "a spatial sound track beside a usual one")
def a_spatial_sound_track(bench: Bench) -> str:
    parts = [bench.shared / "talking.mp4", *(make_sound(bench.folder / f"{n}.m4a") for n in (0, 1))]
    with_sounds = put_together(bench.folder / "phone.mov", parts)
    text = told(bench, without_decoder(with_sounds, 1, b"mp4a", b"apac"))
    assert "audio unknown (apac)" in text and "is left alone: its codec (apac) is not known" in text, text
    return "listed, left alone, said"


@case("unknown codec", "the only video is camera raw")
def the_only_video_is_raw(bench: Bench) -> str:
    path = make_clip(bench.folder / "raw.mov", sounds=[Sound()])
    line = refused(bench, without_decoder(path, 0, b"avc1", b"brxq"))
    assert line.startswith("its video codec (brxq) is not known; convert it"), line
    return line


@case("two videos", "a thumbnail comes first")
def a_thumbnail_comes_first(bench: Bench) -> str:
    thumbnail = make_clip(bench.folder / "thumbnail.mp4", frames=1)
    text = told(bench, put_together(bench.folder / "both.mp4", [thumbnail, bench.shared / "talking.mp4"], [0, 1]))
    assert "320x320 h264" in text and "person 1" in text, text
    assert "there are 2 videos in it; stream 1 is used, the only moving one" in text, text
    return "the film is looked at, and it is said"


def reel_of(bench: Bench, second: dict[str, str], size: int = 320) -> Path:
    """The actor for 0.8 s, and then again in other pictures, in one Flash file as recorders of streams write it."""
    pictures = [frame.rgb for frame in Footage(bench.shared / "talking.mp4").frames(0, 20)]
    smaller = [np.ascontiguousarray(cv2.resize(rgb, (size, size))) for rgb in pictures]
    first = make_clip(bench.folder / "first.flv", pictures=pictures)
    then = make_clip(bench.folder / "then.flv", pictures=smaller, times=range(20, 40), options=second)
    path = bench.folder / "reel.flv"
    path.write_bytes(first.read_bytes() + then.read_bytes()[FLASH_HEADER:])
    return path


@case("clean aperture", "a border of noise that is not shown")
def a_border_that_is_not_shown(bench: Bench) -> str:
    noise, cut = np.random.default_rng(0), CleanAperture(20, 8, 12, 12)
    pictures = []
    for frame in Footage(bench.shared / "talking.mp4").frames():
        picture = noise.integers(0, 255, (340, 352, 3), np.uint8)
        cut.of(picture)[:] = frame.rgb
        pictures.append(picture)
    shot = make_clip(bench.folder / "clean.mov", pictures=pictures)
    assert write_aperture(shot, cut, 352, 340)
    text = told(bench, shot)
    assert "320x320 (coded 352x340, pixels 1:1)" in text and "person 1" in text and "person 2" not in text, text
    outcome = bench.dub(shot, bench.shared / "voice.wav")
    assert outcome.code == 0, outcome
    dubbed = Footage(bench.folder / "out" / "clean.dubbed.mov")
    assert dubbed.aperture == cut and (dubbed.coded_width, dubbed.coded_height) == (352, 340), dubbed.aperture
    return "faces are found in what is shown, border and tag are kept"


@case("size change", "a call in a smaller size after 0.8 s")
def a_call_in_a_smaller_size(bench: Bench) -> str:
    line = refused(bench, reel_of(bench, {}, 240))
    assert line.startswith("the picture size changes at 0:00:00.800 from 320x320 to 240x240; cut it there"), line
    return line


@case("interlaced", "fields after 0.8 s")
def fields_after_a_title(bench: Bench) -> str:
    line = refused(bench, reel_of(bench, FIELDS))
    assert line.startswith("interlaced video (h264, fields) from 0:00:00.800 on") and "--progressive" in line, line
    return line


@case("interlaced", "progressive pictures in interlaced carriage")
def progressive_in_interlaced_carriage(bench: Bench) -> str:
    reel, tracks = reel_of(bench, FIELDS), bench.folder / "tracks"
    assert "person 1" in told(bench, reel, "--progressive")
    tracked = bench.adapt("track", reel, "-o", tracks, "--progressive")
    assert tracked.code == 0 and (tracks / "1.track.safetensors").is_file(), tracked
    dubbed = bench.dub(reel, "silence", "--progressive", "--codec", "ffv1")
    assert dubbed.code == 0, dubbed
    assert Footage(bench.folder / "out" / "reel.dubbed.mp4", progressive=True).frame_count == 40
    return "read as frames by check, track and dub"


@case("long last frame", "the last picture is held for 2 s")
def a_held_last_picture(bench: Bench) -> str:
    pictures = [frame.rgb for frame in Footage(bench.shared / "talking.mp4").frames()]
    shot = hold_last(bench.folder / "held.mp4", make_clip(bench.folder / "clip.mp4", pictures=pictures), 2.04)
    assert "0:00:03.600" in told(bench, shot)
    make_voice(bench.folder / "voice.wav", 3.6)
    make_voice(bench.folder / "longer.wav", 5.0)
    outcome = bench.dub(shot, bench.folder / "voice.wav")
    assert outcome.code == 0, outcome
    dubbed = Footage(bench.folder / "out" / "held.dubbed.mp4")
    assert abs(dubbed.duration - 3.6) < 1e-3 and abs(dubbed.audio[0].duration - 3.6) < 0.05, dubbed.audio
    refusal = bench.adapt("dub", shot, bench.folder / "longer.wav", "--actor", bench.shared / "ada.actor", "-o", "two")
    assert refusal.is_refusal and "ends 1.40 s after the 3.60 s to be dubbed" in refusal.line, refusal
    return "3.6 s of speech fit, 5 s do not"


@case("joined recordings", "a clock that begins anew")
def a_clock_that_begins_anew(bench: Bench) -> str:
    part = make_clip(bench.folder / "part.ts", frames=25, sounds=[Sound()])
    joined = bench.folder / "joined.ts"
    joined.write_bytes(2 * part.read_bytes())
    text = told(bench, joined)
    assert "50 frames, 0:00:02.000" in text and "its clock begins anew at 0:00:01." in text, text
    refusal = bench.dub(joined, "silence")
    assert refusal.is_refusal and "its sound cannot be kept in step; join" in refusal.line, refusal
    return "two seconds for check, one line for dub"


@case("frame rates", "1 and 240 a second")
def one_and_240_frames_a_second(bench: Bench) -> str:
    pictures = [frame.rgb for frame in Footage(bench.shared / "talking.mp4").frames()]
    told_of = []
    for rate in (1, 240):
        # At 240 a second a flash of 0.1 s is no shot; at 1 a second the film runs on.
        shown = pictures[:12] if rate == 1 else [picture for picture in pictures for _ in range(3)]
        if rate == 240:
            shown[50:74] = [np.full_like(pictures[0], 250)] * 24
        shot = make_clip(bench.folder / f"{rate}.mp4", pictures=shown, rate=rate)
        text = told(bench, shot)
        assert "shots: 1\n" in text and "person 1" in text and "person 2" not in text, text
        outcome = bench.adapt("dub", shot, "silence", "--actor", bench.shared / "ada.actor", "-o", f"out{rate}")
        assert outcome.code == 0, outcome
        told_of.append(f"{rate} a second: one shot, one person, dubbed")
    return "; ".join(told_of)


@case("few frames", "one, two and three")
def one_two_and_three_frames(bench: Bench) -> str:
    pictures = [frame.rgb for frame in Footage(bench.shared / "talking.mp4").frames(0, 3)]
    said = []
    for count in (1, 2, 3):
        clip = make_clip(bench.folder / f"{count}.mp4", pictures=pictures[:count])
        assert "person 1" in told(bench, clip)
        for outcome in (
            bench.adapt("track", clip, "-o", f"tracks{count}"),
            bench.adapt("fit", clip, "-o", f"{count}.actor", "--steps", "1"),
            bench.adapt("dub", clip, "silence", "--actor", bench.shared / "ada.actor", "-o", f"out{count}"),
        ):
            assert outcome.code == 0 or outcome.is_refusal, outcome
            said.append(outcome.line or "done")
    return "; ".join(said)
