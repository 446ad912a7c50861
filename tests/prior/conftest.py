"""What tests of renderer training share: a prepared cache, and a perceptual network."""

import shutil
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from adapt.tracking.crop import read_crops
from prior.renderer.perceptual import TRUNK_NAME, SqueezeNetTrunk
from render.head.track import Track
from render.store import write_json
from render.video.reader import Footage


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
