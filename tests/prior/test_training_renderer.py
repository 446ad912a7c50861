"""Training of the renderer prior on a cache made of the synthetic actor: batches, judge, runs, command."""

import json
import os
import shutil
import signal
from multiprocessing import active_children
from pathlib import Path

import pytest
import torch

from prior.face.model import load_face_model
from prior.renderer.mouth_features import BOX_PX, around_mouths, load_mouth_features
from prior.renderer.prior import RendererPrior, load_renderer_prior
from prior.training.mouth_judge import MouthJudge, convinced, judged
from prior.training.renderer import RendererTrainer, TrainingConfig, main, start_prior
from prior.training.renderer_batch import Augmentation, mirror_signs, mirrored, prepare_drawing
from prior.training.renderer_items import BatchStream, RendererDataset, TrainingItem
from render.errors import StoreError
from render.text import read_json

MODEL = load_face_model()
SMALL = {"widths": [8, 8, 8, 8, 8]}


def test_the_judge_learns_what_a_real_mouth_of_one_person_is():
    torch.manual_seed(0)
    judge, trust = MouthJudge(8), torch.ones(8)
    optimiser = torch.optim.Adam(judge.parameters(), 2e-3)
    mouth = torch.zeros(8, 1, 160, 192)
    mouth[..., 70:90, 60:120] = 1
    # A person is the spacing of stripes; a drawn mouth has none.
    people = [torch.sin(torch.arange(192) / (1.5 + person)).expand(160, 192) for person in (0, 1)]
    kinds = [people[0]] * 4 + [people[1]] * 4

    def batch(strength: float = 1.0) -> torch.Tensor:
        pictures = torch.stack([0.5 + 0.2 * strength * kind.roll(int(torch.randint(20, ())), 1) for kind in kinds])
        return around_mouths((pictures + 0.02 * torch.randn(8, 160, 192))[:, None].expand(-1, 3, -1, -1), mouth)

    for _ in range(60):
        loss = judged(judge, batch(), batch(), batch(0.2), trust)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    known, real, other = (judge.encode(one)[-1] for one in (batch(), batch(), batch().roll(4, 0)))
    right, wrong, drawn = judge(known, real), judge(known, other), judge(known, judge.encode(batch(0.2))[-1])
    assert float(right.mean().detach()) > 0 > max(float(wrong.mean().detach()), float(drawn.mean().detach()))
    asked = batch(0.2).requires_grad_(True)
    verdict, features = convinced(judge, batch(), batch(), asked, trust)
    assert float(verdict.detach()) > 0.7 > 0 < float(features.detach())
    (gradient,) = torch.autograd.grad(verdict, asked)
    assert float(gradient.abs().sum()) > 0
    assert float(judged(judge, batch(), batch(), batch(0.2), torch.zeros(8)).detach()) == 0, "no detail, no say"


def test_the_picture_lies_around_the_mouth():
    rgb, mouth = torch.zeros(2, 3, 192, 224), torch.zeros(2, 1, 192, 224)
    for row, (y, x) in enumerate([(100, 110), (20, 200)]):
        mouth[row, 0, y - 5 : y + 5, x - 10 : x + 10] = 1
        rgb[row, :, y, x] = 1
    pictures = around_mouths(rgb, mouth)
    places = [divmod(int(picture.argmax()), BOX_PX[1]) for picture in pictures]
    assert pictures.shape == (2, 1, *BOX_PX)
    assert abs(places[0][0] - 56) <= 1 and abs(places[0][1] - 72) <= 1
    assert places[1] == (20, 200 - (224 - BOX_PX[1])), "at the border as far as there is picture"


def test_mirroring_twice_changes_nothing_and_the_jaw_stays():
    signs = mirror_signs(RendererPrior(MODEL, SMALL))
    assert set(signs.tolist()) == {1.0, -1.0} and signs[0] == 1


def test_augmented_drawing_keeps_its_parts_together(prepared_cache):
    torch.manual_seed(0)
    prior = RendererPrior(MODEL, SMALL)
    start_prior(prepared_cache, prior, ["A"])
    assert 0 < float(prior.mean_texture[:9].detach().mean()) < 1 and float(prior.renderer.expression_scale.min()) > 0
    dataset = RendererDataset(prepared_cache, MODEL, prior.erasing_expressions, targets=2)
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
        error = (drawing.samples.features[:, :3] - inputs.crop).abs().mean(1)[seen].mean()
        assert float(error.detach()) < 0.12
    plain = drawings[-1].inputs.buffer.lower_face
    turned = [torch.equal(drawing.inputs.buffer.lower_face, plain.flip(-1)) for drawing in drawings[:-1]]
    assert any(turned), "some are mirrored"
    twice = mirrored(prior, mirrored(prior, inputs))
    assert all(torch.equal(value, getattr(twice.buffer, name)) for name, value in vars(inputs.buffer).items())
    assert all(
        torch.equal(getattr(inputs, name), getattr(twice, name)) for name in ("erased", "put_back", "crop", "window")
    )


def test_resumed_training_gives_the_same_bytes(prepared_cache, models, tmp_path, monkeypatch):
    monkeypatch.setenv("ADAPT_MODELS", str(models))
    config = TrainingConfig(people=1, targets=1, steps=3, adversarial_from=0.0, teaching=2, reading=2)

    def trainer(run: Path) -> RendererTrainer:
        torch.manual_seed(0)
        return RendererTrainer(prepared_cache, run, RendererPrior(MODEL, SMALL), config, "cpu")

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
    assert all(torch.equal(judges[0][name], judges[1][name]) for name in judges[0]), "the judge too"
    assert "convinced" in first[1] and "convinced" not in first[0], "it starts in the course of the run"


def test_one_person_alone_is_too_few(prepared_cache, tmp_path):
    shutil.copytree(prepared_cache / "A_1", tmp_path / "alone" / "A_1")
    with pytest.raises(StoreError, match="holds 1 person; at least 2 are needed"):
        RendererTrainer(tmp_path / "alone", tmp_path, RendererPrior(MODEL, SMALL), TrainingConfig(), "cpu")


def test_command_trains_and_writes_a_prior(prepared_cache, models, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ADAPT_MODELS", str(models))
    run, pack = tmp_path / "run", tmp_path / "pack"
    main([str(prepared_cache), "--pack", str(pack)])
    assert f"{pack}: 2 of 2 people, 2 of 2 clips" in capsys.readouterr().out and not run.exists()
    monkeypatch.setenv("ADAPT_MODELS", str(tmp_path))  # a pack has all that is needed
    out = run / "renderer.safetensors"  # beside the checkpoints, whose features have their own name already
    shown = "--steps 3 --reading 2 --teaching 2 --adversarial-from 0.1 "
    shown += "--people 1 --targets 1 --device cpu --widths 8 8 8 8 8"
    main([str(pack), "-o", str(out), "--checkpoints", str(run), *shown.split()])
    assert "step 3" in capsys.readouterr().out
    assert load_renderer_prior(out).facts["steps"] == 3
    features = load_mouth_features(out.with_name("mouth_features.safetensors"))
    assert [layer.weight.shape[0] for layer in features.layers] == [32, 64, 96, 128]
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    validation = log[-1]["validation"]
    assert all(0 < validation[region] < 1 for region in ("mouth", "face", "around"))
    summary = read_json(run / "summary.json")
    assert (summary["device"], summary["people"], summary["steps"], summary["frames"]) == ("cpu", 1, 3, 3)
    assert summary["validation_before"] == log[0]["validation"] != validation == summary["validation"]
    assert summary["frames_per_second"] > 0 and summary["seconds_a_step"] > summary["waiting_seconds_a_step"] > 0
    with pytest.raises(SystemExit, match="ADAPT_MODELS"):
        main([str(prepared_cache), "-o", str(out), "--checkpoints", str(tmp_path / "new"), *shown.split()])


@pytest.mark.parametrize("length", ["--minutes 0", "--steps -1", "--minutes nan"])
def test_a_run_without_an_end_or_a_step_is_refused(prepared_cache, tmp_path, length):
    with pytest.raises(SystemExit, match="one of them must be above 0"):
        main([str(prepared_cache), "--checkpoints", str(tmp_path / "run"), "--device", "cpu", *length.split()])
    assert not list(tmp_path.iterdir())


def test_a_run_that_a_signal_ended_goes_on_as_if_it_had_not(prepared_cache, models, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ADAPT_MODELS", str(models))
    monkeypatch.setattr("prior.training.renderer.VALIDATION_ITEMS", 1)
    shown = "--steps 2 --adversarial 0 --shape 0 --people 1 --targets 1 --device cpu --workers 1 --widths 8 8 8 8 8"
    whole, broken = tmp_path / "whole", tmp_path / "broken"

    def train(run: Path) -> None:
        out = run / "made" / "renderer.safetensors"
        main([str(prepared_cache), "-o", str(out), "--checkpoints", str(run), *shown.split()])

    update = RendererTrainer._update

    def ended(trainer: RendererTrainer, item: TrainingItem) -> dict[str, float]:
        losses = update(trainer, item)
        # Ctrl-C reaches every process that belongs to the terminal.
        for number in [*(child.pid for child in active_children()), os.getpid()]:
            os.kill(number, signal.SIGINT)
        return losses

    with monkeypatch.context() as patched, pytest.raises(SystemExit) as stopped:
        patched.setattr(RendererTrainer, "_update", ended)
        train(broken)
    assert stopped.value.code == 130 and "stopped at step 1; the same command goes on" in capsys.readouterr().out
    assert not (broken / "made").exists() and not (broken / "summary.json").exists()
    train(broken)
    train(whole)
    own, other = (load_renderer_prior(run / "made" / "renderer.safetensors").state_dict() for run in (whole, broken))
    assert all(torch.equal(own[name], other[name]) for name in own)
    assert [read_json(run / "summary.json")["steps"] for run in (whole, broken)] == [2, 2]
    assert [line["step"] for line in map(json.loads, (broken / "log.jsonl").read_text().splitlines())] == [0, 2]
    (whole / "log.jsonl").unlink()
    train(whole)
    summary = read_json(whole / "summary.json")
    assert summary["steps"] == 2 and "validation" not in summary, "a log that is gone tells nothing and stops nothing"


@pytest.mark.cuda
def test_training_runs_on_a_gpu(prepared_cache, models, tmp_path, monkeypatch):
    monkeypatch.setenv("ADAPT_MODELS", str(models))
    shown = "--steps 8 --reading 2 --teaching 2 --adversarial-from 0.1 --people 2 --device cuda --widths 8 8 8 8 8"
    out = tmp_path / "renderer.safetensors"
    main([str(prepared_cache), "-o", str(out), "--checkpoints", str(tmp_path), "--workers", "1", *shown.split()])
    summary = read_json(tmp_path / "summary.json")
    assert summary["device"] != "cpu" and summary["steps"] == load_renderer_prior(out).facts["steps"] == 8
    assert summary["validation"]["total"] > 0
