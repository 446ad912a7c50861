"""Readers: what of the product reads which input, and how such inputs are damaged."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import torch

from adapt.actor.bundle import FACTS, TENSORS, ActorBundle
from adapt.actor.consent import read_consent
from adapt.actor.misfit import refuse_misfit
from adapt.actor.renderer import adapted_renderer
from adapt.commands.flags import COMMANDS, InspectConfig
from adapt.commands.inspect import main as inspect_command
from adapt.config import parse_range, resolve
from adapt.fitting.state import Checkpoint, FitState
from adapt.preparation.index import find_clips
from adapt.progress import Silent
from prior.baselines.wav2lip import load_wav2lip
from prior.cache.landmarks import Landmarks
from prior.face.model import load_face_model
from prior.motion.emotion import load_emotions
from prior.motion.model import load_motion_model
from prior.motion.sync import load_sync_model
from prior.renderer.mouth_features import load_mouth_features
from prior.renderer.prior import RendererPrior, load_renderer_prior
from prior.speech.lip_encoder import load_lip_encoder
from prior.speech.loudness import describe_audio
from prior.speech.phonetics import load_phonetics
from prior.speech.sound import read_waveform
from prior.speech.voice import load_voice
from render.drawing.crop import CROP_SIZE
from render.drawing.detail import Detail, with_detail
from render.drawing.renderer import RenderInputs, draw, render_inputs
from render.head.motion import Motion
from render.head.track import Track
from render.video.reader import Footage
from render.video.sound_blocks import audio_blocks
from render.video.sound_track import SoundTrack
from tests.fuzz.boxes import damage_boxes
from tests.fuzz.damage import Files, damage_bytes, damage_json, damage_tensors, damage_yaml
from tests.fuzz.originals import IDENTITY, ROWS, small_track
from tests.fuzz.packets import FORMATS, damage_packets

#: Frames and blocks that are looked at, at most, and frames that are converted.
MOST_FRAMES, MOST_BLOCKS, CONVERTED = 30, 200, 2


@dataclass(frozen=True)
class Reader:
    """One kind of input.

    Attributes:
        damage: a damaged copy of an input's files, by a random state.
        calls: what reads it, each given the input's folder.
    """

    damage: Callable[[Files, Random], Files]
    calls: tuple[Callable[[Path], object], ...]


class Lines(Silent):
    """Keeps what a command says as bytes, as a terminal would take it."""

    def say(self, text: str) -> None:
        text.encode()

    def result(self, value: dict[str, Any]) -> None:
        json.dumps(value, ensure_ascii=False).encode()


def the_file(folder: Path) -> Path:
    """The one file or folder of an input."""
    (path,) = folder.iterdir()
    return path


def watch(folder: Path) -> None:
    """A video's facts and frames."""
    footage = Footage(the_file(folder))
    assert footage.frame_count and footage.fps > 0 and footage.duration >= 0 and footage.has_variable_rate in (0, 1)
    for frame in footage.frames(0, MOST_FRAMES):
        assert [plane.ndim for plane in frame.planes] == [2] * len(frame.planes)
        if frame.index < CONVERTED:
            assert frame.rgb.shape == frame.preview.shape
    if footage.frame_count > 2:
        next(footage.frames(footage.frame_count // 2), None)


def hear(folder: Path) -> None:
    """A sound's samples, by the file's clock and from its beginning."""
    read_waveform(the_file(folder))
    read_waveform(the_file(folder), from_beginning=True)


def hear_blocks(folder: Path) -> None:
    """The first samples, in blocks."""
    for block in islice(audio_blocks(SoundTrack(the_file(folder))), MOST_BLOCKS):
        assert block.samples.ndim == 2 and block.rate > 0


def measure(folder: Path) -> None:
    """A sound's facts."""
    describe_audio(the_file(folder))


def inspect_it(folder: Path) -> None:
    """`adapt inspect`."""
    inspect_command(InspectConfig(str(the_file(folder))), Lines())


def inspect_videos(folder: Path) -> None:
    """`adapt inspect` of the videos beside a sidecar."""
    for path in sorted(the_file(folder).glob("*.mp4")):
        inspect_command(InspectConfig(str(path)), Lines())


def load_config(folder: Path) -> None:
    """Settings from a file."""
    path = the_file(folder)
    _check_range(resolve(COMMANDS[path.stem][0], file=path))


def load_words(folder: Path) -> None:
    """Settings from words of a command line: the lines of the file."""
    path = the_file(folder)
    words = path.read_text("utf-8", "replace").replace(": ", "=").split("\n")
    _check_range(resolve(COMMANDS[path.stem][0], overrides=words))


def _check_range(config: Any) -> None:
    parse_range(getattr(config, "range", None))


def load_index(folder: Path) -> None:
    """An index beside its files."""
    find_clips([str(the_file(folder))], 100)


def load_consent(folder: Path) -> None:
    """A consent record and its expiry."""
    record = read_consent(the_file(folder))
    assert str(record)
    assert record.expiry is None or record.expiry.year


def load_checkpoint(folder: Path) -> None:
    """A fit's checkpoint, and what would be drawn with it."""
    assert FitState.load(Checkpoint(the_file(folder), identity=IDENTITY)).parameters


@cache
def _prior() -> RendererPrior:
    return RendererPrior(load_face_model())


@cache
def _inputs() -> RenderInputs:
    """A face that fills a grey crop."""
    track = replace(small_track(), crop_from_image=torch.tensor([[[8.0, 0.0, -128.0], [0.0, 8.0, -64.0]]] * ROWS))
    crops = torch.full((1, 3, CROP_SIZE, CROP_SIZE), 0.5)
    return render_inputs(_prior().model, track, torch.tensor([1]), crops, _prior().erasing_expressions)


def draw_bundle(folder: Path) -> None:
    """What is drawn from a bundle, as a dub does."""
    bundle = ActorBundle.load(the_file(folder))
    refuse_misfit(bundle, the_file(folder), _prior())
    drawn = draw(adapted_renderer(_prior(), bundle.delta), bundle.look, _inputs())
    assert drawn.rgb.isfinite().all()
    if bundle.detail:
        detail, buffer = Detail.of_stored(bundle.detail).at_scale(1.3), _inputs().buffer
        assert with_detail(drawn.rgb, drawn.shares, detail, buffer.uv, buffer.covered).isfinite().all()


def of_file(load: Callable[[Path], object]) -> Callable[[Path], object]:
    """A reader of the one file."""

    def call(folder: Path) -> None:
        load(the_file(folder))

    call.__name__ = getattr(load, "__qualname__", "load")
    return call


def damage_media(files: Files, random: Random) -> Files:
    """Bytes of a media file, its packets, or its boxes."""
    ((name, data),) = files.items()
    suffix = Path(name).suffix
    what = random.random()
    if what < 0.3 and suffix in FORMATS:
        return {name: damage_packets(data, suffix, random)}
    if what < 0.6 and suffix in (".mp4", ".mov", ".m4a"):
        return {name: damage_boxes(data, random)}
    return {name: damage_bytes(data, random)}


def damage_one(damage: Callable[[bytes, Random], bytes], suffix: str = "") -> Callable[[Files, Random], Files]:
    """Damages the file whose name ends so."""

    def damaged(files: Files, random: Random) -> Files:
        return {name: damage(data, random) if name.endswith(suffix) else data for name, data in files.items()}

    return damaged


def damage_bundle(files: Files, random: Random) -> Files:
    """Facts or tensors of a bundle; mostly with hashes that fit, as whoever writes one can make them."""
    facts_name, tensors_name = (next(name for name in files if name.endswith(end)) for end in (FACTS, TENSORS))
    found = dict(files)
    if random.random() < 0.5:
        found[tensors_name] = damage_tensors(files[tensors_name], random)
    else:
        found[facts_name] = damage_json(files[facts_name], random)
    if random.random() < 0.1:
        del found[random.choice((facts_name, tensors_name))]
    elif random.random() < 0.9:
        found[facts_name] = _with_hashes(found[facts_name], found[tensors_name])
    return found


def _with_hashes(facts: bytes, tensors: bytes) -> bytes:
    try:
        record = json.loads(facts)
        record.pop("facts_sha256", None)
        if TENSORS in record["files"]:
            record["files"][TENSORS] = hashlib.sha256(tensors).hexdigest()
        record["facts_sha256"] = hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
        return json.dumps(record).encode()
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return facts


PICTURE_AND_SOUND = Reader(damage_media, (watch, hear, hear_blocks, measure, inspect_it))
SOUND = Reader(damage_media, (hear, hear_blocks, measure, watch))
READERS: dict[str, Reader] = {
    **dict.fromkeys(("mp4", "mov", "mkv", "webm", "ts", "avi"), PICTURE_AND_SOUND),
    **dict.fromkeys(("wav", "aac"), SOUND),
    "bundle": Reader(damage_bundle, (of_file(ActorBundle.load), draw_bundle, inspect_it)),
    "consent": Reader(damage_one(damage_json), (load_consent,)),
    "config": Reader(damage_one(damage_yaml), (load_config, load_words)),
    "index": Reader(damage_one(damage_bytes, "index.csv"), (load_index,)),
    "run": Reader(damage_one(damage_json, "run.json"), (inspect_it, inspect_videos)),
    "checkpoint": Reader(damage_one(damage_tensors), (load_checkpoint,)),
    **{
        name: Reader(damage_one(damage_tensors), (of_file(load),))
        for name, load in (
            ("track", Track.load),
            ("motion", Motion.load),
            ("landmarks", Landmarks.load),
            ("face-model", load_face_model),
            ("renderer-prior", load_renderer_prior),
            ("motion-model", load_motion_model),
            ("phonetics", load_phonetics),
            ("lip-encoder", load_lip_encoder),
            ("sync", load_sync_model),
            ("voice-detector", load_voice),
            ("emotions", load_emotions),
            ("mouth-features", load_mouth_features),
            ("wav2lip", load_wav2lip),
        )
    },
}
