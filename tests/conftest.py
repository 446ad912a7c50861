import os
import warnings
from pathlib import Path

import pytest
import torch

from adapt.actor.bundle import ActorBundle
from adapt.fitting.fit import Fitted, fit
from adapt.fitting.options import FitOptions
from adapt.synthetic.actor import babble, make_actor
from adapt.tracking.track import track_footage
from render.head.track import Track
from render.video.reader import Footage


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
