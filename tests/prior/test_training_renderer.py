"""Losses, dataset and training of the renderer prior on a cache made of the synthetic actor."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from adapt.tracking.crop import read_crops
from prior.face.model import load_face_model
from prior.renderer.losses import LossWeights, renderer_loss, texture_strength
from prior.renderer.perceptual import TRUNK_NAME, SqueezeNetTrunk, feature_distance, load_trunk
from prior.renderer.prior import RendererPrior, load_renderer_prior
from prior.training.discriminator import Discriminator, patch_error
from prior.training.renderer import RendererTrainer, TrainingConfig, main, start_prior
from prior.training.renderer_batch import Augmentation, mirror_signs, mirrored, prepare_drawing
from prior.training.renderer_items import BatchStream, RendererDataset
from render.drawing.gbuffer import GBuffer
from render.drawing.renderer import RenderInputs
from render.errors import StoreError
from render.head.track import Track
from render.store import write_json
from render.video.footage import Footage

MODEL = load_face_model()
SMALL = {"widths": [8, 8, 8, 8, 8]}


@pytest.fixture(scope="module")
def cache(talking_clip: tuple[Path, Track], tmp_path_factory: pytest.TempPathFactory) -> Path:
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


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a trunk of random weights."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models")
    save_file(SqueezeNetTrunk().state_dict(), str(folder / TRUNK_NAME))
    return folder


def test_items_depend_on_seed_and_index_only(cache):
    erased = torch.zeros(4, MODEL.lower_basis.shape[0])
    dataset, again = (RendererDataset(cache, MODEL, erased, targets=2, seed=3) for _ in range(2))
    assert dataset.people == ["A", "B"]
    dataset[7]
    assert torch.equal(dataset[1].crops, again[1].crops) and torch.equal(dataset[1].opening, again[1].opening)
    assert not torch.equal(dataset[1].crops, dataset[2].crops)
    item = dataset[1]
    assert item.crops.shape == (2, 3, 256, 256) and item.erasing_vertices.shape[:2] == (2, 4)
    assert bool((item.opening.diff() >= 0).all()), "bins are closed, half open, open"
    streams = [iter(BatchStream(dataset, 1, 0, rank, 2)) for rank in (0, 1)]
    assert torch.equal(next(streams[1]).crops[0], dataset[1].crops), "ranks share the items out"
    with pytest.raises(StoreError, match="adapt prepare"):
        RendererDataset(cache, MODEL, erased, people=["nobody"])


def test_targets_are_neighbours(cache):
    dataset = RendererDataset(cache, MODEL, torch.zeros(1, MODEL.lower_basis.shape[0]), targets=3)
    random = np.random.default_rng(0)
    clip, frames = dataset.clips["A"][0]
    sparse = frames[torch.tensor([0, 1, 2, 10, 11, 12, 30, 31, 32])]
    chosen = {tuple(dataset._targets(clip, sparse, random).tolist()) for _ in range(40)}
    assert chosen == {(0, 1, 2), (10, 11, 12), (30, 31, 32)}


def test_texture_strength_is_what_blur_lacks():
    torch.manual_seed(0)
    real = torch.rand(1, 3, 64, 64)
    erased = torch.ones(1, 1, 64, 64)
    erased[..., :16] = 0
    blurred = torch.nn.functional.avg_pool2d(real, 3, 1, 1, count_include_pad=False)
    strong, weak = (texture_strength(image, erased, 3) for image in (real, blurred))
    assert float((weak / strong)[..., 2:].max()) < 0.6 and strong.shape == (1, 3, 7, 7)
    moved = real.roll(5, -1)  # as strong, elsewhere: the strength hardly notices, the colours do
    other = texture_strength(moved, erased, 3)
    assert abs(float((other / strong)[..., 3:].mean()) - 1) < 0.05
    assert float(strong[..., 0].max()) < 0.01, "outside the mask nothing counts"


def test_discriminator_learns_what_blur_is():
    torch.manual_seed(0)
    judge = Discriminator(2, 8)
    optimiser = torch.optim.Adam(judge.parameters(), 3e-3)
    erased, trust = torch.ones(2, 2, 1, 48, 48), torch.ones(2)
    for _ in range(40):
        real = torch.rand(2, 2, 3, 48, 48)
        drawn = torch.nn.functional.avg_pool2d(real.flatten(0, 1), 3, 1, 1).view_as(real)
        error = patch_error(judge(real, erased), 1, erased, trust) + patch_error(judge(drawn, erased), 0, erased, trust)
        optimiser.zero_grad()
        error.backward()
        optimiser.step()
    assert float(error.detach()) < 0.2, "chance is 0.5"
    coarse = patch_error(judge(drawn, erased).detach(), 1, erased, torch.zeros(2))
    assert float(coarse) == 0, "sources without detail do not count"


def test_enrollment_stays_apart_from_targets(cache):
    dataset = RendererDataset(cache, MODEL, torch.zeros(1, MODEL.lower_basis.shape[0]), targets=3)
    random = np.random.default_rng(0)
    clip, frames = dataset.clips["A"][0]
    part = dataset._part(clip, frames, random)
    assert 6 <= len(part) <= len(frames) // 2 + 1 and bool((part.diff() == 1).all())


def test_loss_is_least_at_the_truth_and_counts_the_mouth_most(models):
    torch.manual_seed(0)
    real = torch.rand(2, 3, 64, 64)
    erased = torch.ones(2, 1, 64, 64)
    lower_face, mouth = torch.zeros_like(erased), torch.zeros_like(erased)
    lower_face[..., 16:, :], mouth[..., 30:40, 20:40] = 1, 1
    nothing = torch.zeros_like(erased)
    buffer = GBuffer(torch.zeros(2, 64, 64, 2), lower_face, mouth, lower_face, nothing, nothing[:, 0])
    inputs = RenderInputs(buffer, erased, erased, real, torch.zeros(2, 5, 1), torch.zeros(2))
    trunk = load_trunk(models / TRUNK_NAME)

    def loss(rgb: torch.Tensor, log_scale: float = 0.0) -> dict[str, torch.Tensor]:
        told = replace(inputs, log_scale=torch.full((2,), log_scale))
        return renderer_loss((rgb, 8 * (2 * lower_face - 1)), told, trunk=trunk)

    none = loss(real)
    assert float(none["total"]) < 1e-3
    spot, corner = real.clone(), real.clone()
    spot[..., 32:36, 28:32] += 0.5
    corner[..., 2:6, 2:6] += 0.5
    assert float(loss(spot)["colour"]) > 4 * float(loss(corner)["colour"]) > 0
    assert float(loss(spot)["perceptual"]) > 0
    assert float(loss(spot, -1.0)["detail"]) == 0, "a small face scaled up teaches no detail"
    assert float(loss(real)["total"]) < float(loss(real + 0.01)["total"])
    assert "perceptual" not in renderer_loss((real, lower_face), inputs, LossWeights())


def test_feature_distance_is_a_distance_with_gradient(models):
    torch.manual_seed(0)
    trunk = load_trunk(models / TRUNK_NAME)
    first, second = torch.rand(2, 3, 64, 64, requires_grad=True), torch.rand(2, 3, 64, 64)
    assert float(feature_distance(trunk, second, second).abs().max()) == 0
    distance = feature_distance(trunk, first, second)
    distance.sum().backward()
    assert bool((distance > 0).all()) and float(first.grad.abs().sum()) > 0
    with pytest.raises(StoreError, match="ADAPT_MODELS"):
        load_trunk(models / "nothing.safetensors")


def test_mirroring_twice_changes_nothing_and_the_jaw_stays():
    signs = mirror_signs(RendererPrior(MODEL, SMALL))
    assert set(signs.tolist()) == {1.0, -1.0} and signs[0] == 1


def test_augmented_drawing_keeps_its_parts_together(cache):
    torch.manual_seed(0)
    prior = RendererPrior(MODEL, SMALL)
    start_prior(cache, prior, ["A"])
    assert 0 < float(prior.mean_texture[:9].detach().mean()) < 1 and float(prior.renderer.expression_scale.min()) > 0
    dataset = RendererDataset(cache, MODEL, prior.erasing_expressions, targets=2)
    batch = next(iter(BatchStream(dataset, 2, 0)))
    drawings = [
        prepare_drawing(prior, batch, torch.Generator().manual_seed(seed), Augmentation(0.25, 0.15))
        for seed in range(6)
    ]
    drawings.append(prepare_drawing(prior, batch, torch.Generator()))
    for drawing in drawings:
        inputs = drawing.inputs
        assert inputs.crop.shape == (4, 3, 192, 224) and inputs.window.shape[0] == 4
        # The sampled texture is a picture of the crop: mirrored or not, tinted or not, they agree.
        seen = (inputs.buffer.lower_face * inputs.erased)[:, 0] == 1
        error = (drawing.features[:, :3] - inputs.crop).abs().mean(1)[seen].mean()
        assert float(error.detach()) < 0.12
    plain = drawings[-1].inputs.buffer.lower_face
    turned = [torch.equal(drawing.inputs.buffer.lower_face, plain.flip(-1)) for drawing in drawings[:-1]]
    assert any(turned), "some are mirrored"
    twice = mirrored(prior, mirrored(prior, inputs))
    assert all(torch.equal(value, getattr(twice.buffer, name)) for name, value in vars(inputs.buffer).items())
    assert all(
        torch.equal(getattr(inputs, name), getattr(twice, name)) for name in ("erased", "put_back", "crop", "window")
    )


def test_resumed_training_gives_the_same_bytes(cache, models, tmp_path, monkeypatch):
    monkeypatch.setenv("ADAPT_MODELS", str(models))
    config = TrainingConfig(people=1, targets=1, steps=3, adversarial_from=0.0)

    def trainer(run: Path) -> RendererTrainer:
        torch.manual_seed(0)
        return RendererTrainer(cache, run, RendererPrior(MODEL, SMALL), config, "cpu")

    def step(one: RendererTrainer) -> dict[str, float]:
        return one._update(next(iter(BatchStream(one.dataset, 1, one.run.step))))

    whole = trainer(tmp_path / "whole")
    assert whole.people == ["A"] and whole.validation_people == ["B"]
    first = [step(whole) for _ in range(3)]
    assert first[0]["total"] > 0
    broken = trainer(tmp_path / "broken")
    step(broken)
    broken.save({})
    resumed = trainer(tmp_path / "broken")
    assert resumed.run.step == 1
    for _ in range(2):
        step(resumed)
    own, other = whole.prior.state_dict(), resumed.prior.state_dict()
    assert all(torch.equal(own[name], other[name]) for name in own)
    assert all(torch.equal(whole.mean[name], resumed.mean[name]) for name in whole.mean)
    judges = whole.judge.state_dict(), resumed.judge.state_dict()
    assert all(torch.equal(judges[0][name], judges[1][name]) for name in judges[0]), "the discriminator too"
    assert "adversarial" in first[1] and "adversarial" not in first[0], "it starts in the course of the run"


def test_one_person_alone_is_too_few(cache, tmp_path):
    shutil.copytree(cache / "A_1", tmp_path / "alone" / "A_1")
    with pytest.raises(StoreError, match="holds 1 person; at least 2 are needed"):
        RendererTrainer(tmp_path / "alone", tmp_path, RendererPrior(MODEL, SMALL), TrainingConfig(), "cpu")


def test_command_trains_and_writes_a_prior(cache, models, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ADAPT_MODELS", str(models))
    out, run = tmp_path / "renderer.safetensors", tmp_path / "run"
    shown = "--steps 2 --people 1 --targets 1 --device cpu --widths 8 8 8 8 8"
    main([str(cache), "-o", str(out), "--checkpoints", str(run), *shown.split()])
    assert "step 2" in capsys.readouterr().out
    assert load_renderer_prior(out).facts["steps"] == 2
    validation = json.loads((run / "log.jsonl").read_text().splitlines()[-1])["validation"]
    assert all(0 < validation[region] < 1 for region in ("mouth", "face", "around"))
    monkeypatch.setenv("ADAPT_MODELS", str(tmp_path))
    with pytest.raises(SystemExit, match="ADAPT_MODELS"):
        main([str(cache), "-o", str(out), "--checkpoints", str(tmp_path / "new"), *shown.split()])
