"""The interface of every command: one frozen dataclass each. Light to import; the work is in the named modules.

`COMMANDS` maps a command's name to its config and to `module:function`, called with the config and a `Progress`.
"""

from dataclasses import dataclass

from omegaconf import MISSING

from adapt.comparison.options import CompareOptions
from adapt.config import COMMAND, FILE, FILES_OF, argument, option
from adapt.dubbing.options import DubOptions
from adapt.fitting.options import FitOptions

PROGRESSIVE = "pictures flagged as interlaced are of one moment (progressive in interlaced carriage): read as frames"
NO_CACHE = "keep nothing of what is found in a video, and use nothing that was kept (see `adapt cache`)"


@dataclass(frozen=True)
class CheckConfig:
    """Look at footage: streams, timing, shots, who is in it, and whether it is good enough to fit an actor."""

    video: str = argument("video file", names=FILE)
    audio: str | None = option(None, "audio file that is to drive the dub; checked beside the video", names=FILE)
    out: str | None = option(
        None, "folder for cast.jpg and check.json (default: print only)", "--out", "-o", names=FILE
    )
    backend: str = option("mediapipe", "what finds faces: mediapipe, or to look only, not to track, fan (extra `fan`)")
    progressive: bool = option(False, PROGRESSIVE)
    no_cache: bool = option(False, NO_CACHE)
    overwrite: bool = option(False, "replace an existing output folder's files")


@dataclass(frozen=True)
class TrackConfig:
    """Recover the 3D head of each person in a video: shape, pose, expression, crop."""

    video: str = argument("video file", names=FILE)
    out: str = option(MISSING, "folder for PERSON.track.safetensors", "--out", "-o", names=FILE)
    person: int | None = option(None, "cast number of the one person to track (default: everyone)")
    overlay: bool = option(False, "also write PERSON.overlay.mp4: mesh, uv grid, crop, confidence")
    progressive: bool = option(False, PROGRESSIVE)
    overwrite: bool = option(False, "replace tracks in an existing folder")


@dataclass(frozen=True)
class PrepareConfig:
    """Make footage of many people ready for training: tracks, crops, sound, facts. Goes on where it was stopped."""

    footage: list[str] = argument("video files, or folders of them (with index.csv: file, person, speech)", [])
    out: str = option(MISSING, "cache folder", "--out", "-o")
    stage: str = option("full", "landmarks (to learn a face model from) or full")
    crops_per_person: int = option(85, "frames of each person to keep crops of, shared out over the person's clips")
    progressive: bool = option(False, PROGRESSIVE)


@dataclass(frozen=True)
class FitConfig:
    """Make an actor bundle from a few seconds of the actor's footage."""

    footage: list[str] = argument("video files that show the actor", [], names=FILE)
    out: str = option(MISSING, "actor bundle to write, such as ada.actor", "--out", "-o", names=FILE)
    name: str | None = option(None, "the actor's name (default: from the bundle's file name)")
    person: int | None = option(None, "cast number of the actor in the footage; see `adapt check`")
    all: bool = option(False, "fit every cast member: NAME.1.actor, NAME.2.actor, …")
    seconds: float | None = option(None, "footage to learn from, seconds; the best-covering frames are taken")
    range: str | None = option(None, "part of each file to use, START-END in seconds")
    steps: int = option(FitOptions.steps, "optimiser steps")
    minutes: float | None = option(None, "stop optimising after this many minutes")
    consent: str | None = option(None, "JSON file with who, scope, date, expiry, reference", names=FILE)
    device: str = option(FitOptions.device, "where the network learns: cpu or cuda")
    seed: int = option(FitOptions.seed, "seed of the choice of frames and of noise")
    resume: bool = option(False, "go on from an interrupted fit of the same bundle")
    progressive: bool = option(False, PROGRESSIVE)
    no_cache: bool = option(False, NO_CACHE)
    anyway: bool = option(False, "fit even where the consent has expired")
    overwrite: bool = option(False, "replace an existing actor bundle")


@dataclass(frozen=True)
class PreviewConfig:
    """Draw a few frames of a video as one picture: over mouth opening, or with AUDIO as they will be in the dub."""

    actor: str = argument("actor bundle, or (without AUDIO) `prior` for the unadapted renderer")
    video: str = argument("video file with the actor")
    audio: str | None = argument(
        "sound that the actor is to speak: the loudest, quietest and most turned frames are shown, dubbed", None
    )
    out: str = option("preview.png", "picture to write", "--out", "-o")
    person: int | None = option(None, "cast number of the actor in the video; see `adapt check`")
    at: list[float] = option([], "seconds into the video, repeatable (default: frames that show most)")
    jaw: list[float] = option([0.0, 0.5, 1.0], "without AUDIO: mouth openings to hold, 0 closed to 1 open, repeatable")
    range: str | None = option(None, "with AUDIO: part of the video to dub, START-END in seconds")
    mouth: float = option(DubOptions.mouth, "with AUDIO: as of dub, 0.6 to 1.4")
    region: str = option(DubOptions.region, "with AUDIO: as of dub: lips, mouth or lower-face")
    progressive: bool = option(False, PROGRESSIVE)
    overwrite: bool = option(False, "replace an existing picture")


@dataclass(frozen=True)
class DubConfig:
    """Re-render one or several actors' mouths in a shot to new speech; everything else stays as it was."""

    video: str = argument("video file", names=FILE)
    audio: str | None = argument(
        "sound that the one person in the video is to speak, or the word silence", None, names=FILE
    )
    out: str = option(
        MISSING, "folder for the dubbed video, report and sidecar", "--out", "-o", names=FILE, unless="plan"
    )
    actor: str | None = option(
        None, "actor bundle for --drive or for AUDIO (default: fitted from the video itself)", names=FILE
    )
    person: int | None = option(None, "cast number of that actor in the video; see `adapt check`")
    drive: str | None = option(
        None, "what moves the mouth instead of sound: source, silence, another video, a track", names=FILE
    )
    motion_model: str | None = option(
        None, "audio-to-motion weights of your own (default: the shipped ones)", names=FILE
    )
    face: list[str] = option(
        [], "ACTOR=AUDIO, ACTOR@PERSON=AUDIO or PERSON=AUDIO, repeatable; AUDIO may be silence", names=FILES_OF
    )
    deliver: str | None = option(
        None, "sound of the result: source, mix (of all that drive), insert (into the source's, where it drives), or a "
        "file that starts with the video (default: the one that drives; with --range: insert)", names=FILE,
    )  # fmt: skip
    range: str | None = option(None, "part of the video to dub, START-END in seconds; the driving sound starts with it")
    mouth: float = option(DubOptions.mouth, "make mouth movements smaller or larger, 0.6 to 1.4")
    intensity: float = option(
        DubOptions.intensity, "make movement about the actor's mean smaller or larger, 0 to 2; lips still meet"
    )
    weights: str | None = option(
        None, "lips=FACTOR,jaw=FACTOR: move lips, or cheeks and jaw, less or more than else, 0 (rest) to 2"
    )
    style: str | None = option(
        None,
        "clip, actor bundle or track of whose way of talking is taken over; with :0.5, by half",
        names=FILE,
    )
    emotion: str = option(DubOptions.emotion, "neutral, happy or angry; with :0.6, less so")
    keys: str | None = option(None, "edited table (.csv) of what the mouth does when, by `adapt keys`", names=FILE)
    cues: str | None = option(
        None, "table (.csv) of controls by range and person: start, end, person, mouth, …; see README", names=FILE
    )
    audio_offset: float = option(
        DubOptions.audio_offset, "seconds by which the driving sound starts later than the video"
    )
    on_mismatch: str = option(DubOptions.on_mismatch, "where lengths differ: error, trim, pad or hold")
    region: str = option(DubOptions.region, "what of the new mouth is put back: lips, mouth or lower-face")
    occluders: str = option("keep", "what lies in front of the mouth: keep (looked for, left on top) or ignore")
    codec: str | None = option(
        DubOptions.codec, "h264, h265, ffv1 or prores (default: as the source, its ProRes profile too)"
    )
    quality: str = option(DubOptions.quality, "draft, standard or final")
    grain: bool = option(DubOptions.grain, "give the new mouth the source's grain")
    plan: bool = option(False, "say what would be done and how long it would take here, and do nothing of it")
    draft: bool = option(False, "quick look: every frame, but at most 80 fit steps, draft quality, no grain")
    fit_steps: int = option(DubOptions.fit_steps, "optimiser steps for a cast member without a bundle")
    fit_minutes: float | None = option(DubOptions.fit_minutes, "stop such a fit after this many minutes")
    fit_cache: str | None = option(
        None, "folder where such fits are kept, or none (default: adapt/fits in the user's cache)", names=FILE
    )
    no_cache: bool = option(not DubOptions.keep_found, NO_CACHE)
    resume: bool = option(
        DubOptions.resume, "say where an interrupted dub of the same goes on, or that there is none; it goes on anyway"
    )
    progressive: bool = option(DubOptions.progressive, PROGRESSIVE)
    anyway: bool = option(
        DubOptions.anyway,
        "dub even where the bundle does not look like the person in the video, or the consent expired",
    )
    overwrite: bool = option(DubOptions.overwrite, "replace the folder of an earlier dub")
    device: str = option(DubOptions.device, "where the network runs: cpu or cuda")
    seed: int = option(DubOptions.seed, "seed of grain and of fits")


@dataclass(frozen=True)
class KeysConfig:
    """Write what a sound has somebody's mouth do, key by key, as a table to edit; for `adapt dub --keys`."""

    video: str = argument("video file", names=FILE)
    audio: str = argument("sound that the one person in the video is to speak", names=FILE)
    out: str = option("keys.csv", "table to write", "--out", "-o", names=FILE)
    actor: str | None = option(None, "actor bundle (default: the person as the video shows them)", names=FILE)
    person: int | None = option(None, "cast number of that actor in the video; see `adapt check`")
    range: str | None = option(None, "part of the video to dub, as for `adapt dub`")
    audio_offset: float = option(DubOptions.audio_offset, "as for `adapt dub`")
    on_mismatch: str = option(DubOptions.on_mismatch, "as for `adapt dub`")
    no_cache: bool = option(not DubOptions.keep_found, NO_CACHE)
    progressive: bool = option(DubOptions.progressive, PROGRESSIVE)
    anyway: bool = option(DubOptions.anyway, "as for `adapt dub`")
    overwrite: bool = option(False, "replace an existing table")


@dataclass(frozen=True)
class SpeakersConfig:
    """Propose who speaks when in a shot of several people, as a table for `adapt dub --cues`; nothing is decided."""

    video: str = argument("video file", names=FILE)
    sounds: list[str] = argument(
        "one mixed sound, or one file for each voice (default: the video's own)", [], names=FILE
    )
    out: str = option("speakers.csv", "table to write", "--out", "-o", names=FILE)
    no_cache: bool = option(not DubOptions.keep_found, NO_CACHE)
    progressive: bool = option(DubOptions.progressive, PROGRESSIVE)
    overwrite: bool = option(False, "replace an existing table")


@dataclass(frozen=True)
class CompareConfig:
    """Score adapt beside baselines on footage: withheld frames, one canvas, intervals over people. Can be resumed."""

    footage: list[str] = argument(
        "video files, or folders of them (with index.csv: file, person, speech)", [], names=FILE
    )
    out: str = option(
        MISSING, "folder for tables, report and cache; goes on where it was stopped", "--out", "-o", names=FILE
    )
    methods: str = option("all", "names with commas between; all: every method whose weights are there")
    method: list[str] = option(
        [], "NAME='COMMAND {enrollment} {query} {mask} {audio} {output}', repeatable", names=COMMAND
    )
    method_minutes: float = option(
        CompareOptions.method_minutes, "a command of --method that takes longer for a clip is stopped, minutes"
    )
    lanes: str = option("1,2,3,4", "1 real motion, 2 own held-out sound, 3 another speaker's sound, 4 silence")
    enrollment: float = option(CompareOptions.enrollment, "footage to learn from, seconds")
    held_out: float = option(CompareOptions.held_out, "footage to draw, at most, seconds")
    split: str = option(CompareOptions.split, "time, take, or auto: by take where a person has several files")
    sound: str | None = option(
        None, "sound file for lane 3 (default: each clip is given the next person's sound)", names=FILE
    )
    fit_steps: int = option(
        CompareOptions.fit_steps, "optimiser steps of the fit; the network from scratch gets as much processor time"
    )
    tracks: str | None = option(
        None, "cache folder of `adapt prepare`; its tracks of the same files are used", names=FILE
    )
    prior: str | None = option(None, "renderer prior to use instead of the shipped one, a safetensors file", names=FILE)
    progressive: bool = option(CompareOptions.progressive, PROGRESSIVE)
    strict: bool = option(False, "exit with an error where anything was left out")


@dataclass(frozen=True)
class InspectConfig:
    """Say what is known about a file or an actor: who, from what, with what consent, altered or not."""

    path: str = argument("dubbed video, dub folder, actor bundle or any video")


@dataclass(frozen=True)
class CacheConfig:
    """Say what is kept of videos that were looked at (faces, tracks) and of fits, and where; or remove it."""

    clear: bool = option(False, "remove all of it; nothing but time is lost")


@dataclass(frozen=True)
class DoctorConfig:
    """Look at this installation: each line is OK or says how to fix it."""


#: Command lines to paste, shown at the end of a command's help.
EXAMPLES = {
    "check": (
        "adapt check shot.mp4",
        "adapt check shot.mp4 --audio voice.wav",
        "adapt check shot.mp4 -o findings --json",
    ),
    "track": (
        "adapt track shot.mp4 -o tracks",
        "adapt track shot.mp4 -o tracks --person 2",
        "adapt track shot.mp4 -o tracks --overlay --overwrite",
    ),
    "preview": (
        "adapt preview prior shot.mp4",
        "adapt preview ada.actor shot.mp4 -o ada.png",
        "adapt preview ada.actor shot.mp4 voice.wav -o ada.png",
        "adapt preview ada.actor shot.mp4 --at 2.5 --at 4 --jaw 0.3 --overwrite",
    ),
    "inspect": (
        "adapt inspect ada.actor",
        "adapt inspect dubbed",
        "adapt inspect dubbed/shot.dubbed.mp4 --json",
    ),
    "fit": (
        "adapt fit actor.mp4 -o ada.actor",
        "adapt fit actor.mp4 -o ada.actor --range 2-6 --consent ada.json",
        "adapt fit crowd.mp4 -o crowd.actor --all",
    ),
    "dub": (
        "adapt dub shot.mp4 voice.wav -o out",
        "adapt dub shot.mp4 --drive reading.mp4 --actor ada.actor --mouth 1.2 -o out",
        "adapt dub shot.mp4 voice.wav --plan",
        "adapt dub shot.mp4 --face ada.actor@2=ada.wav --face 1=silence --on-mismatch trim -o out",
    ),
    "keys": (
        "adapt keys shot.mp4 voice.wav -o keys.csv",
        "adapt keys shot.mp4 voice.wav --actor ada.actor --person 2 --range 2.5-6",
        "adapt dub shot.mp4 voice.wav --keys keys.csv -o out",
    ),
    "speakers": (
        "adapt speakers shot.mp4 -o speakers.csv",
        "adapt speakers shot.mp4 ada.wav bob.wav",
        "adapt dub shot.mp4 --face 1=mixed.wav --face 2=mixed.wav --cues speakers.csv --deliver mixed.wav -o out",
    ),
    "compare": (
        "adapt compare actors -o comparison",
        "adapt compare actors -o comparison --lanes 1,4 --methods 'real,prior,adapt'",
        "adapt compare actors -o comparison --method 'mine=python mine.py {enrollment} {query} {output}'",
    ),
}
COMMANDS: dict[str, tuple[type, str]] = {
    "check": (CheckConfig, "adapt.commands.check:main"),
    "track": (TrackConfig, "adapt.commands.track:main"),
    "prepare": (PrepareConfig, "adapt.commands.prepare:main"),
    "fit": (FitConfig, "adapt.commands.fit:main"),
    "preview": (PreviewConfig, "adapt.commands.preview:main"),
    "dub": (DubConfig, "adapt.commands.dub:main"),
    "keys": (KeysConfig, "adapt.commands.keys:main"),
    "speakers": (SpeakersConfig, "adapt.commands.speakers:main"),
    "compare": (CompareConfig, "adapt.commands.compare:main"),
    "inspect": (InspectConfig, "adapt.commands.inspect:main"),
    "cache": (CacheConfig, "adapt.commands.cache:main"),
    "doctor": (DoctorConfig, "adapt.commands.doctor:main"),
}
