"""A front end of the user's own: a tiny network of HuBERT's architecture with random weights stands for it."""

import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from adapt.cli import main
from prior.face.model import load_face_model
from prior.motion import model as motion_model
from prior.motion.model import INPUTS, input_rows, load_motion_model
from prior.motion.style import MouthStyle, mouth_measures
from prior.speech import pretrained_front_end as front_end
from prior.speech.features import features
from prior.speech.phonemes import LABEL_RATE
from prior.speech.phonetics import shipped_phonetics
from prior.speech.pretrained_front_end import ENVIRONMENT, FrontEnd
from prior.speech.sound import SAMPLE_RATE
from prior.training.motion import MotionTrainer
from prior.training.spoken_clips import SpokenClip
from render.errors import StoreError
from render.store import file_sha256

SIZE = 16


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    transformers = pytest.importorskip("transformers", reason="extra `hubert` is not installed")
    torch.manual_seed(0)
    settings = {"hidden_size": SIZE, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.HubertConfig(**settings, conv_dim=(8,) * 7, num_conv_pos_embeddings=16)
    path = tmp_path_factory.mktemp("weights") / "hubert"
    transformers.HubertModel(config).save_pretrained(path)
    return path


def chirp(seconds):
    clock = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return (0.1 * np.sin(2 * np.pi * (200 + 80 * clock) * clock)).astype(np.float32)


@pytest.fixture(scope="module")
def trained(folder):
    """A motion model that was trained for a few steps with the front end."""
    ear, face_model, waveform = FrontEnd(folder), load_face_model(), chirp(6.0)
    ear.learn([waveform])
    rows, gate = input_rows(shipped_phonetics(), features(waveform))
    rows = torch.cat([rows, ear.columns(waveform)], 1)
    axes = face_model.lower_basis.shape[0]
    lower = torch.sin(torch.arange(len(rows)) / 5)[:, None].expand(-1, axes).contiguous()
    style = MouthStyle(torch.zeros(axes), torch.zeros(axes), torch.ones(axes), torch.tensor(300.0))
    known, measures = torch.ones(len(rows), dtype=torch.bool), mouth_measures(face_model, lower)
    trainer = MotionTrainer(face_model, [SpokenClip("c", "p", rows, rows, gate, lower, known, style, measures)], seed=0)
    assert trainer.train(3, 2)["coefficients"] > 0
    trainer.model.front_end = ear
    return trainer.model


def test_a_row_every_label_row_whatever_the_piece_size(folder, monkeypatch):
    ear, random = FrontEnd(folder), np.random.default_rng(0)
    monkeypatch.setattr(front_end, "LAYER", 0)  # before attention, which mixes rows
    noise = random.normal(0, 0.1, 3 * SAMPLE_RATE).astype(np.float32)
    rows = ear.hidden(noise)
    assert rows.shape == (3 * LABEL_RATE + 1, SIZE)
    for second in (1.0, 1.8):
        other, middle = noise.copy(), round(second * SAMPLE_RATE)
        other[middle - 400 : middle + 400] *= -1
        changed = (ear.hidden(other) - rows).square().sum(1)
        heard = (changed * torch.arange(len(rows))).sum() / changed.sum()
        assert abs(float(heard) - second * LABEL_RATE) <= 1, "rows lie on the sound's own clock"
    monkeypatch.setattr(front_end, "PIECE_ROWS", 60)
    assert ear.hidden(noise).shape == rows.shape


def test_columns_are_of_unit_variance_and_unlike(folder):
    ear, waveform = FrontEnd(folder), chirp(5.0)
    ear.learn([waveform])
    columns = ear.columns(waveform)
    strong = columns.std(0) > 0.5
    assert strong.sum() >= SIZE // 2
    alike = torch.corrcoef(columns[:, strong].T).fill_diagonal_(0).abs()
    assert alike.max() < 0.1


def test_the_motion_file_remembers_and_finds_its_front_end(trained, folder, tmp_path, monkeypatch):
    path, frames = tmp_path / "motion.safetensors", np.arange(0, 2.0, 0.04)
    trained.save(path, {})
    again = load_motion_model(path)
    assert again.config.inputs == INPUTS + SIZE
    expected, found = (model.eval().predict(chirp(2.0), frames).lower_expression for model in (trained, again))
    torch.testing.assert_close(found, expected, atol=2e-2, rtol=0)
    deaf = load_motion_model(path)
    deaf.front_end.basis.zero_()
    assert not torch.allclose(deaf.predict(chirp(2.0), frames).lower_expression, found), "it listens"
    moved = folder.rename(folder.with_name("moved"))
    try:
        with pytest.raises(StoreError, match=f"no front end in it.*set {ENVIRONMENT} to it"):
            load_motion_model(path)
        monkeypatch.setenv(ENVIRONMENT, str(moved))
        load_motion_model(path)
        shutil.copytree(moved, tmp_path / "other")
        (tmp_path / "other" / "model.safetensors").write_bytes(b"other weights")
        monkeypatch.setenv(ENVIRONMENT, str(tmp_path / "other"))
        with pytest.raises(StoreError, match="not the front end that the motion model was trained with"):
            load_motion_model(path)
        with pytest.raises(StoreError, match="its weights cannot be read"):
            FrontEnd(tmp_path / "other")
    finally:
        moved.rename(folder)


def test_without_the_package_dub_says_what_to_install(tmp_path, monkeypatch, capsys, talking_clip):
    folder = tmp_path / "hubert"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "hubert"}')
    (folder / "model.safetensors").write_bytes(b"weights")
    monkeypatch.setitem(sys.modules, "transformers", None)
    model = motion_model.shipped_motion_model()
    config = replace(model.config, front_end=1)
    other = motion_model.MotionModel(config)

    class Absent(torch.nn.Module):
        facts = {"folder": str(folder), "sha256": file_sha256(folder / "model.safetensors")}

    other.front_end = Absent()
    other.save(tmp_path / "motion.safetensors", {})
    words = ["dub", str(talking_clip[0]), "silence", "--motion-model", str(tmp_path / "motion.safetensors")]
    with pytest.raises(SystemExit) as stopped:
        main([*words, "-o", str(tmp_path / "out")])
    error = capsys.readouterr().err.strip()
    assert stopped.value.code == 1 and error.count("\n") == 0
    assert "pip install 'adapt-dub[hubert]'" in error
