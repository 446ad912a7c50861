import os
import shutil
import signal
import warnings
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from adapt.actor.bundle import ActorBundle
from adapt.fitting.fit import Fitted, fit
from adapt.fitting.options import FitOptions
from adapt.motion.controls import PlacedMotion, Speaker
from adapt.synthetic.actor import babble, make_actor
from adapt.tracking.crop import read_crops
from adapt.tracking.kept import track_footage
from prior.face.model import load_face_model
from prior.motion.marks import speech_marks
from prior.motion.model import shipped_motion_model
from prior.renderer.perceptual import TRUNK_NAME, SqueezeNetTrunk
from prior.speech.phonemes import LABEL_RATE
from prior.speech.sound import read_waveform
from render.head.track import Track
from render.store import write_json
from render.video.reader import Footage


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What is kept between runs lies in a folder of the session's own."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


@pytest.fixture(scope="session", autouse=True)
def signals_of_a_terminal() -> None:
    """Signals are heeded, as in a terminal, also where the suite was started in the background or to outlive one."""
    for name, handler in (("SIGINT", signal.default_int_handler), ("SIGHUP", signal.SIG_DFL)):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), handler)


@pytest.fixture(scope="session")
def footage_dir() -> Path:
    """The real clips; a test that needs them skips, loudly, where they are absent."""
    default = Path(__file__).parents[1] / ".." / "shared" / "footage"
    path = Path(os.environ.get("ADAPT_FOOTAGE", default)).resolve()
    if not (path / "dev" / "index.csv").is_file():
        warnings.warn(f"ADAPT_FOOTAGE: no footage at {path}; tests on real footage are skipped", stacklevel=1)
        pytest.skip(f"no footage at {path}")
    return path


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not torch.cuda.is_available():
        for item in items:
            if "cuda" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture(scope="session")
def talking_clip(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Track]:
    """1.6 seconds of the synthetic actor at 320 px, and the track she was rendered from."""
    actor = make_actor(320)
    times = torch.arange(40, dtype=torch.float64) / 25
    take = actor.perform(actor.speak(babble(1.6), times), times)
    path = tmp_path_factory.mktemp("clip") / "talking actor é.mp4"
    actor.film(path, take)
    return path, take


@pytest.fixture(scope="session")
def tracked(talking_clip: tuple[Path, Track]) -> Track:
    """The track of `talking_clip` as it is found in the footage."""
    return track_footage(Footage(talking_clip[0]), None, "adapt track")


@pytest.fixture(scope="session")
def fitted(talking_clip: tuple[Path, Track]) -> Fitted:
    """The synthetic actor, fitted on `talking_clip` from its true track, without a step."""
    path, take = talking_clip
    return fit([path], "Ada", FitOptions(steps=0), tracks=[take])


@pytest.fixture(scope="session")
def ada(fitted: Fitted) -> ActorBundle:
    """`fitted` as a bundle."""
    return fitted.bundle


@pytest.fixture(scope="session")
def speaker() -> Speaker:
    """The average person."""
    model = shipped_motion_model()
    return Speaker(1, *model.blended(None), model.opening_axis, model.closing_direction, load_face_model())


@pytest.fixture(scope="session")
def spoken(speaker: Speaker) -> PlacedMotion:
    """What the example's sentence has the average person do, at `LABEL_RATE`."""
    sound = read_waveform(Path(__file__).parents[1] / "examples" / "sentence.flac")
    marks = speech_marks(sound)
    seconds = torch.arange(len(marks.speaking), dtype=torch.float64) / LABEL_RATE
    lower = shipped_motion_model().predict(sound, seconds.numpy()).lower_expression
    mean = torch.lerp(speaker.closed, speaker.mean, marks.speaking[:, None])
    return PlacedMotion(seconds, lower, mean, marks.speaking, marks.shut, marks.near)


@pytest.fixture(scope="session")
def prepared_cache(talking_clip: tuple[Path, Track], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared cache of two people who look alike."""
    path, track = talking_clip
    track = track.with_crop_size(256)
    frames = list(range(len(track)))
    crops = read_crops(Footage(path), track, frames).permute(0, 2, 3, 1).numpy()
    root = tmp_path_factory.mktemp("cache")
    first = root / "A_1"
    first.mkdir()
    track.save(first / "track.safetensors")
    write_json(first / "facts.json", {"person": "A", "crop_frames": frames})
    with av.open(str(first / "crops.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "10"})
        stream.width = stream.height = 256
        stream.pix_fmt = "yuv444p"
        for crop in crops:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(crop), format="rgb24")))
        container.mux(stream.encode())
    shutil.copytree(first, root / "B_1")
    write_json(root / "B_1" / "facts.json", {"person": "B", "crop_frames": frames})
    return root


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a trunk of random weights."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models")
    save_file(SqueezeNetTrunk().state_dict(), str(folder / TRUNK_NAME))
    return folder
