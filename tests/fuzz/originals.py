"""Sound inputs, as small as they can be: made once a run, one folder an input, in folders by reader."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import torch

from adapt.actor.bundle import ActorBundle, FitFacts
from adapt.actor.consent import Consent
from adapt.actor.delta import new_delta
from adapt.fitting.state import Checkpoint, FitState
from prior.baselines.wav2lip import Wav2Lip
from prior.cache.landmarks import Landmarks
from prior.face.model import WEIGHTS as FACE_MODEL
from prior.face.model import load_face_model
from prior.motion.emotion import save_emotions, shipped_emotions
from prior.motion.model import MotionConfig, MotionModel
from prior.motion.sync import SyncConfig, SyncModel
from prior.renderer.mouth_features import MouthFeatures
from prior.renderer.prior import RendererPrior
from prior.speech.lip_encoder import LipEncoder, LipEncoderConfig
from prior.speech.phonetics import PhoneticConfig, PhoneticEncoder
from prior.speech.voice import VoiceConfig, VoiceDetector
from render.drawing.detail import DETAIL_SIZE, Detail
from render.drawing.gbuffer import TEXTURE_SIZE
from render.drawing.look import BANK_FRAMES, Bank
from render.drawing.neural_texture import TEXTURE_CHANNELS
from render.head.track import Track
from tests.media import Sound, make_clip, make_sound, make_voice

CLIP = {"frames": 10, "size": (64, 48)}
VOICE = Sound(seconds=0.3)
OPUS = Sound("libopus", seconds=0.3)
#: Which fit the checkpoint says it is of.
IDENTITY = {"sources": [{"file": "a.mp4", "person": 1}], "steps": 4, "seed": 0}
ROWS = 3


def make_mp4(folder: Path) -> None:
    make_clip(_at(folder, "plain", "clip.mp4"), **CLIP, sounds=[VOICE])
    make_clip(_at(folder, "turned", "clip.mp4"), **CLIP, rotation=90, times=[0, 1, 2, 4, 5, 9, 10, 11, 12, 13])
    pieces = {"movflags": "frag_keyframe+empty_moov"}
    make_clip(_at(folder, "in pieces", "clip.mp4"), **CLIP, sounds=[VOICE], container_options=pieces)
    make_clip(_at(folder, "h265", "clip.mp4"), **CLIP, codec="libx265", pix_fmt="yuv420p10le")


def make_mov(folder: Path) -> None:
    make_clip(_at(folder, "prores", "clip.mov"), frames=4, codec="prores_ks", pix_fmt="yuv422p10le", options={})
    make_clip(_at(folder, "raw", "clip.mov"), frames=3, size=(32, 24), codec="rawvideo", pix_fmt="rgb24", options={})
    make_clip(_at(folder, "jpeg", "clip.mov"), **CLIP, codec="mjpeg", pix_fmt="yuvj422p", sounds=[Sound("pcm_s16le")])


def make_mkv(folder: Path) -> None:
    make_clip(_at(folder, "ffv1", "clip.mkv"), frames=4, size=(64, 48), codec="ffv1", pix_fmt="gbrp10le", options={})
    make_clip(_at(folder, "h264", "clip.mkv"), **CLIP, sounds=[OPUS, VOICE])


def make_webm(folder: Path) -> None:
    make_clip(_at(folder, "vp9", "clip.webm"), **CLIP, codec="libvpx-vp9", options={"cpu-used": "8"}, sounds=[OPUS])
    make_clip(_at(folder, "vp8", "clip.webm"), **CLIP, codec="libvpx", options={"cpu-used": "8"})


def make_ts(folder: Path) -> None:
    make_clip(_at(folder, "h264", "clip.ts"), **CLIP, sounds=[VOICE])
    make_clip(
        _at(folder, "mpeg2", "clip.ts"), **CLIP, codec="mpeg2video", options={}, sounds=[Sound("mp2", seconds=0.3)]
    )


def make_avi(folder: Path) -> None:
    make_clip(_at(folder, "mpeg4", "clip.avi"), **CLIP, codec="mpeg4", options={}, sounds=[Sound("pcm_s16le")])
    make_clip(
        _at(folder, "palette", "clip.avi"), frames=3, size=(32, 24), codec="rawvideo", pix_fmt="bgr24", options={}
    )


def make_wav(folder: Path) -> None:
    make_voice(_at(folder, "mono", "voice.wav"), 0.3)
    make_sound(_at(folder, "float", "voice.wav"), Sound("pcm_f32le", layout="5.1", seconds=0.2))
    make_sound(_at(folder, "flac", "voice.flac"), Sound("flac", seconds=0.2))


def make_aac(folder: Path) -> None:
    make_sound(_at(folder, "adts", "voice.aac"), VOICE)
    make_sound(_at(folder, "m4a", "voice.m4a"), VOICE)
    make_sound(_at(folder, "mp3", "voice.mp3"), Sound("libmp3lame", seconds=0.3))
    make_sound(_at(folder, "opus", "voice.ogg"), OPUS)


def make_bundle(folder: Path) -> None:
    style = {name: torch.zeros(_expressions()) for name in ("closed", "mean")} | {"spread": torch.ones(_expressions())}
    seen = torch.ones(1, BANK_FRAMES, 1, TEXTURE_SIZE, TEXTURE_SIZE)
    turned = torch.zeros(1, BANK_FRAMES, _expressions()), torch.zeros(1, BANK_FRAMES, 2)
    bank = Bank(torch.zeros(1, BANK_FRAMES, 3, TEXTURE_SIZE, TEXTURE_SIZE), seen, *turned)
    detail = Detail(torch.zeros(1, BANK_FRAMES, DETAIL_SIZE, DETAIL_SIZE), 2.0)
    bundle = ActorBundle(
        name="Ada",
        texture=torch.zeros(TEXTURE_CHANNELS, TEXTURE_SIZE, TEXTURE_SIZE),
        delta=new_delta(RendererPrior(load_face_model()).renderer, 0),
        style=style | {"frames": torch.tensor(30.0)},
        prior_sha256="0" * 64,
        sources=[{"file": "a.mp4", "sha256": "0" * 64, "person": 1, "frames": 30}],
        pose_range={"yaw": [-5.0, 5.0], "pitch": [-3.0, 3.0]},
        facts=FitFacts(1.2, 4, consent=Consent({"who": "Ada", "scope": "tests"}), held_out_loss={"adapted": 0.1}),
        bank=bank.stored(),
        detail=detail.stored(),
    )
    bundle.save(folder / "whole" / "ada.actor")


def make_track(folder: Path) -> None:
    small_track().save(folder / "whole" / "a.track.safetensors")


def make_motion(folder: Path) -> None:
    small_track().motion().save(folder / "whole" / "a.motion.safetensors")


def make_landmarks(folder: Path) -> None:
    track = small_track()
    points, flow = torch.zeros(ROWS, 468, 3), torch.zeros(ROWS, 4, 2)
    facts = ("ada", {"file": "a.mp4", "sha256": "0" * 64})
    whole = Landmarks(64, 48, track.timestamps, track.shot, points, flow, track.confidence, *facts)
    whole.save(folder / "whole" / "landmarks.safetensors")


def make_face_model(folder: Path) -> None:
    _write(folder / "whole" / "face.safetensors", FACE_MODEL.read_bytes())


def make_renderer_prior(folder: Path) -> None:
    RendererPrior(load_face_model(), {"widths": [4, 8]}).save(folder / "whole" / "prior.safetensors")


def make_motion_model(folder: Path) -> None:
    MotionModel(MotionConfig(4, width=8, dilations=(1,))).save(folder / "plain" / "motion.safetensors", {"seed": 1})
    sampling = MotionConfig(4, width=8, dilations=(1,), members=2, denoiser_dilations=(1,))
    MotionModel(sampling).save(folder / "sampling" / "motion.safetensors", {})


def make_phonetics(folder: Path) -> None:
    PhoneticEncoder(PhoneticConfig(8, (1, 2))).save(folder / "whole" / "phonetics.safetensors", {"seed": 1})


def make_lip_encoder(folder: Path) -> None:
    LipEncoder(LipEncoderConfig(8, 8, (1, 2))).save(folder / "whole" / "lip_encoder.safetensors", {"seed": 1})


def make_sync(folder: Path) -> None:
    SyncModel(SyncConfig(4, width=8, size=4, dilations=(1,))).save(folder / "whole" / "sync.safetensors", {"seed": 1})


def make_voice_detector(folder: Path) -> None:
    VoiceDetector(VoiceConfig()).save(folder / "whole" / "voice.safetensors", {"seed": 1})


def make_emotions(folder: Path) -> None:
    save_emotions(folder / "whole" / "emotion.safetensors", shipped_emotions(), {"speakers": 3})


def make_mouth_features(folder: Path) -> None:
    MouthFeatures(4).save_features(folder / "whole" / "mouth_features.safetensors")


def make_wav2lip(folder: Path) -> None:
    Wav2Lip(0.05).save(folder / "whole" / "wav2lip.safetensors", {"seed": 1})


def make_checkpoint(folder: Path) -> None:
    texture, delta = torch.zeros(1, TEXTURE_CHANNELS, 8, 8), {"head.bias": torch.zeros(3)}
    best = {"texture": texture + 1, "head.bias": torch.ones(3)}
    history = [{"step": 1, "loss": 0.5}]
    state = FitState(texture, delta, {"head.bias/first": torch.zeros(3)}, 2, best, 0.25, 0.5, history)
    state.save(Checkpoint(folder / "whole" / "a.checkpoint", identity=IDENTITY))


def make_consent(folder: Path) -> None:
    record = {"who": "Ada", "scope": "tests", "date": "2025-01-31", "expiry": "2027-12-31", "reference": "7"}
    _write(folder / "whole" / "consent.json", json.dumps(record).encode())


def make_config(folder: Path) -> None:
    _write(folder / "fit" / "fit.yaml", b"footage: [a.mp4, b.mp4]\nout: a.actor\nsteps: 20\nrange: 1-2\nall: false\n")
    text = b"video: a.mp4\nout: out\nmouth: 1.2\nface:\n  - ada.actor@2=a.wav\n  - 1=silence\nseed: 3\nrange: null\n"
    _write(folder / "dub" / "dub.yaml", text)
    _write(folder / "preview" / "preview.yaml", b"actor: a.actor\nvideo: a.mp4\nat: [0.5, 1]\njaw: []\nperson: 1\n")


def make_index(folder: Path) -> None:
    text = io.StringIO()
    rows = [("file", "person", "speech"), ("a.mp4", "ada", "yes"), ("b é.mov", 'bob "b", c', "no"), ("c.mkv", "", "")]
    csv.writer(text).writerows(rows)
    _write(folder / "whole" / "footage" / "index.csv", text.getvalue().encode())
    for name, _, _ in rows[1:]:
        _write(folder / "whole" / "footage" / name, b"")


def make_run(folder: Path) -> None:
    make_clip(_at(folder, "whole", "out/a.dubbed.mp4"), frames=2, size=(32, 24))
    run = {
        "statement": "altered",
        "code_version": "1",
        "source": {"file": "a.mp4", "sha256": "0" * 64},
        "drivers": [{"kind": "sound", "file": "a.wav", "sha256": "0" * 64}],
        "actors": [{"name": "Ada", "person": 1, "consent": "who: Ada; scope: tests"}],
        "output": {"file": "a.dubbed.mp4", "sha256": "0" * 64},
        "settings": {"mouth": 1.0, "range": None},
    }
    _write(folder / "whole" / "out" / "run.json", json.dumps(run).encode())


MAKERS: dict[str, Callable[[Path], None]] = {
    name.removeprefix("make_").replace("_", "-"): value
    for name, value in list(globals().items())
    if name.startswith("make_") and value.__module__ == __name__
}


def make_originals(folder: Path, reader: str) -> None:
    """Write the inputs of a reader into `folder/READER/NAME/…`, unless they are there."""
    own = folder / reader
    if own.exists():
        return
    MAKERS[reader](own)


def _at(folder: Path, name: str, file: str) -> Path:
    path = folder / name / file
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _expressions() -> int:
    return load_face_model().lower_basis.shape[0]


def small_track() -> Track:
    """A head that looks straight ahead in the middle of a small picture."""
    model = load_face_model()
    return Track(
        width=64,
        height=48,
        timestamps=torch.arange(ROWS, dtype=torch.float64) / 25,
        shot=torch.zeros(ROWS, dtype=torch.int32),
        confidence=torch.ones(ROWS),
        shape=torch.zeros(len(model.shape_basis)),
        focal_px=torch.full((ROWS,), 60.0),
        rotation=torch.zeros(ROWS, 3),
        translation=torch.tensor([0.0, 0.0, 50.0]).repeat(ROWS, 1),
        lower_expression=torch.zeros(ROWS, len(model.lower_basis)),
        upper_expression=torch.zeros(ROWS, len(model.upper_basis)),
        crop_from_image=torch.eye(2, 3, dtype=torch.float64).repeat(ROWS, 1, 1),
        crop_size=256,
        source={"file": "a.mp4", "sha256": "0" * 64, "person": 1},
    )
