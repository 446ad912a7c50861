"""LPIPS and DISTS: their formulas on random weights, the real loading code, what is said where weights are absent."""

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from adapt.metrics.perceptual import (
    ALEX_FILE,
    DISTS_FILE,
    VGG_FILE,
    AlexTrunk,
    Dists,
    Lpips,
    VggTrunk,
    around_mask,
    load_dists,
    load_lpips,
    perceptual_metrics,
)
from render.errors import StoreError

CHANNELS = 3 + 64 + 128 + 256 + 512 + 512


@pytest.fixture
def pictures() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    real = torch.nn.functional.interpolate(torch.rand(2, 3, 24, 24), 96, mode="bicubic").clamp(0, 1)
    return real, torch.nn.functional.avg_pool2d(real, 9, 1, 4)


@pytest.fixture
def homes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Random weights under the names and in the form of the real ones."""
    torch.manual_seed(0)
    checkpoints = tmp_path / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setenv("ADAPT_MODELS", str(tmp_path))
    classifier = {"classifier.6.bias": torch.zeros(1000)}
    torch.save({**AlexTrunk().state_dict(), **classifier}, checkpoints / ALEX_FILE)
    torch.save({**VggTrunk().state_dict(), **classifier}, checkpoints / VGG_FILE)
    torch.save({name: torch.rand(1, CHANNELS, 1, 1) for name in ("alpha", "beta")}, tmp_path / DISTS_FILE)
    return tmp_path


def test_distances_are_zero_for_equal_pictures_and_grow_with_blur(homes: Path, pictures):
    if find_spec("lpips") is None:
        pytest.skip("LPIPS's linear weights come with the lpips package, which is not installed")
    real, blurred = pictures
    mask = torch.zeros(2, 1, 96, 96)
    mask[..., 8:88, 8:88] = 1
    found = perceptual_metrics()
    assert {"lpips", "dists"} <= set(found.distances) and not {"lpips", "dists"} & set(found.missing)
    for name in ("lpips", "dists"):
        distance = found.distances[name]
        assert distance(real, real, mask).tolist() == pytest.approx([0, 0], abs=1e-5)
        assert bool((distance(blurred, real, mask) > 1e-4).all())
        outside = torch.where(mask > 0, real, 1 - real)
        assert distance(outside, real, mask).tolist() == pytest.approx([0, 0], abs=1e-5), "outside counts for nothing"
    assert load_lpips("vgg").trunk.features.keys() == VggTrunk().features.keys()


def test_lpips_of_one_layer_by_hand():
    class Pixels(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
            return [x]

    network = Lpips(Pixels(), [torch.tensor([1.0, 2.0, 3.0])])
    # In the trunk's normalised colours: [1, 0, 0] against [0, 0, 1] everywhere.
    mean, scale = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    colours = [mean + scale * torch.tensor(value) for value in ([5.0, 0, 0], [0, 0, 2.0])]
    first, second = (colour[None, :, None, None].expand(1, 3, 4, 4) for colour in colours)
    assert network(first, second).item() == pytest.approx(1 + 3, abs=1e-4), "unit length, then weights 1 and 3"


def test_dists_of_a_constant_shift_by_hand():
    torch.manual_seed(0)
    alpha, beta = torch.zeros(CHANNELS), torch.zeros(CHANNELS)
    alpha[0], beta[0] = 1.0, 3.0
    network = Dists(VggTrunk(root_pooling=True), alpha, beta)
    real = 0.2 + 0.2 * torch.rand(1, 3, 32, 32)
    shifted = real.clone()
    shifted[:, 0] += 0.3
    mean = float(real[:, 0].mean())
    wanted = 0.25 * (1 - 2 * mean * (mean + 0.3) / (mean**2 + (mean + 0.3) ** 2))
    assert network(shifted, real).item() == pytest.approx(wanted, abs=1e-4), (
        "structure is kept, a quarter is the mean's"
    )


def test_what_is_absent_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setenv("ADAPT_MODELS", str(tmp_path))
    found = perceptual_metrics()
    assert not found.distances and set(found.missing) == {"squeezenet", "lpips", "dists"}
    assert ALEX_FILE in found.missing["lpips"] and "TORCH_HOME" in found.missing["lpips"]
    assert DISTS_FILE in found.missing["dists"] and "ADAPT_MODELS" in found.missing["dists"]


def test_damaged_weights_are_named(homes: Path):
    (homes / "hub" / "checkpoints" / ALEX_FILE).write_bytes(b"no checkpoint")
    with pytest.raises(StoreError, match="cannot be read"):
        load_lpips()
    torch.save({"features.0.weight": torch.zeros(1)}, homes / "hub" / "checkpoints" / VGG_FILE)
    with pytest.raises(StoreError, match="not the weights of that network"):
        load_dists()


def test_frames_do_not_depend_on_the_batch(pictures):
    torch.manual_seed(0)
    real, blurred = pictures
    mask = torch.ones(2, 1, 96, 96)
    distance = around_mask(Dists(VggTrunk(root_pooling=True), torch.rand(CHANNELS), torch.rand(CHANNELS)))
    both = distance(blurred, real, mask)
    assert distance(blurred[1:], real[1:], mask[1:]).item() == pytest.approx(both[1].item(), abs=1e-6)
