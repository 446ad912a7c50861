"""Wav2Lip: published shapes and sound front end, storing, drawing, training."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from prior.baselines.wav2lip import (
    FACE_BOX,
    FACE_SIZE,
    MEL_BANDS,
    MEL_LIMIT,
    MEL_ROWS,
    WEIGHTS,
    Wav2Lip,
    choose_reference,
    crops_of,
    draw_wav2lip,
    faces_of,
    load_wav2lip,
    masked,
    mel_rows,
    mel_windows,
)
from prior.training.wav2lip import LowerFaceExpert, SpokenFaces, Wav2LipConfig, Wav2LipTrainer
from render.errors import StoreError

RATE = 16_000


@pytest.fixture(scope="module")
def small() -> Wav2Lip:
    torch.manual_seed(0)
    return Wav2Lip(0.05).eval()


def tone(hz: float, seconds: float = 1.0) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def test_width_one_has_the_published_parameters():
    with torch.device("meta"):
        model = Wav2Lip()
    assert sum(value.numel() for value in model.parameters()) == 36_298_035
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    assert shapes["face_encoder_blocks.0.0.conv_block.0.weight"] == (16, 6, 7, 7)
    assert shapes["audio_encoder.12.conv_block.1.running_mean"] == (512,)
    assert shapes["face_decoder_blocks.1.0.conv_block.0.weight"] == (1024, 512, 3, 3)
    assert shapes["face_decoder_blocks.6.2.conv_block.0.weight"] == (64, 64, 3, 3)
    assert shapes["output_block.0.conv_block.0.weight"] == (32, 80, 3, 3)
    assert shapes["output_block.1.weight"] == (3, 32, 1, 1)


def test_mel_rows_follow_the_published_settings():
    rows = mel_rows(tone(1000))
    assert rows.shape == (81, MEL_BANDS) and float(rows.abs().max()) <= MEL_LIMIT
    # 1 kHz lies where Slaney's scale stops being linear: band 24 of 80 between 55 and 7600 Hz.
    loudest = rows[40].argmax()
    assert abs(int(loudest) - 26) <= 2
    assert float(mel_rows(np.zeros(RATE, np.float32)).max()) == -MEL_LIMIT
    ten_louder = mel_rows(10 ** (10 / 20) * tone(1000))[40].max() - rows[40].max()
    assert float(ten_louder) == pytest.approx(10 * 2 * MEL_LIMIT / 100, abs=0.01), "8 units are 100 dB"


def test_windows_are_centred_on_their_frames():
    rows = torch.arange(400.0)[:, None].expand(-1, MEL_BANDS)
    found = mel_windows(rows, torch.tensor([0.0, 1.0], dtype=torch.float64))
    assert found.shape == (2, 1, MEL_BANDS, MEL_ROWS)
    assert float(found[1].mean()) == pytest.approx(80 * 1.02 - 0.5, abs=0.6)
    assert float(found[0, 0, 0, 0]) == -MEL_LIMIT, "silence before the sound"


def test_faces_and_crops_are_each_other_s_inverse():
    smooth = torch.nn.functional.interpolate(torch.rand(2, 3, 8, 8), 256, mode="bicubic").clamp(0, 1)
    faces = faces_of(smooth)
    assert faces.shape == (2, 3, FACE_SIZE, FACE_SIZE)
    erased = torch.zeros(2, 1, 256, 256)
    erased[..., 60:210, 30:230] = 1
    back = crops_of(faces, smooth, erased)
    assert float((back - smooth).abs().mean()) < 0.01 and torch.equal(back[..., :50, :], smooth[..., :50, :])
    # Blue comes first, and the black half begins at the box's middle.
    assert torch.allclose(faces[:, 0].mean(), smooth[:, 2, : FACE_BOX[1], FACE_BOX[2] : FACE_BOX[3]].mean(), atol=0.05)
    assert float(masked(faces)[:, :, FACE_SIZE // 2 :].max()) == 0
    assert choose_reference(faces, faces[1:]) == 1


def test_drawing_reads_neither_the_mouth_nor_the_batch(small: Wav2Lip):
    crops, erased = torch.rand(5, 3, 256, 256), torch.zeros(5, 1, 256, 256)
    erased[..., 110:200, 60:200] = 1
    sound, seconds = tone(300), torch.arange(5, dtype=torch.float64) / 25
    known = (torch.rand(3, 3, 256, 256) * 255).to(torch.uint8)
    drawn = draw_wav2lip(small, known, crops, erased, sound, seconds)
    assert drawn.shape == crops.shape and torch.equal(drawn[:, :, :110], crops[:, :, :110])
    assert not torch.equal(drawn, crops)
    painted = torch.where(erased > 0, torch.rand_like(crops), crops)
    again = draw_wav2lip(small, known, painted, erased, sound, seconds)
    assert torch.allclose(again, drawn, atol=1e-5)
    alone = draw_wav2lip(small, known, crops[2:3], erased[2:3], sound, seconds[2:3])
    assert torch.allclose(alone[0], drawn[2], atol=2e-2) or choose_reference(
        faces_of(known.float() / 255), faces_of(crops)
    ) != choose_reference(faces_of(known.float() / 255), faces_of(crops[2:3]))


def test_storing_and_the_official_form(small: Wav2Lip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    small.save(tmp_path / "ours.safetensors", {"steps": 1})
    loaded = load_wav2lip(tmp_path / "ours.safetensors")
    mel, faces = torch.randn(2, 1, MEL_BANDS, MEL_ROWS), torch.rand(2, 6, FACE_SIZE, FACE_SIZE)
    assert torch.allclose(loaded(mel, faces), small(mel, faces), atol=0.02)
    published = Wav2Lip()
    checkpoint = {"state_dict": {f"module.{key}": value for key, value in published.state_dict().items()}}
    torch.save(checkpoint, tmp_path / "wav2lip.pth")
    monkeypatch.setenv("ADAPT_WAV2LIP", str(tmp_path / "wav2lip.pth"))
    official = load_wav2lip()
    assert official.width == 1 and torch.equal(official.output_block[1].weight, published.output_block[1].weight)
    torch.save({"state_dict": {"module.x": torch.zeros(1)}}, tmp_path / "other.pth")
    with pytest.raises(StoreError, match="not the weights of such a network"):
        load_wav2lip(tmp_path / "other.pth")
    for foreign in ([1], {"state_dict": {"module.x": 1}}, {"state_dict": 1}):
        torch.save(foreign, tmp_path / "foreign.pth")
        with pytest.raises(StoreError, match="foreign.pth: not a checkpoint of tensors"):
            load_wav2lip(tmp_path / "foreign.pth")
    with pytest.raises(StoreError, match="no such Wav2Lip weights"):
        load_wav2lip(tmp_path / "none.pth")


def spoken(seed: int, frames: int = 30) -> SpokenFaces:
    random = torch.Generator().manual_seed(seed)
    faces = torch.randint(0, 255, (frames, 3, FACE_SIZE, FACE_SIZE), generator=random, dtype=torch.uint8)
    vectors = torch.randn(frames, 6, generator=random)
    sound = torch.randn(frames, 1, MEL_BANDS, MEL_ROWS, generator=random)
    seconds, runs = torch.arange(frames, dtype=torch.float64) / 25, torch.arange(frames - 4)
    return SpokenFaces(f"p{seed}", seconds, faces, faces, sound, vectors, vectors, runs)


def test_training_goes_on_where_it_stopped(tmp_path: Path):
    config = Wav2LipConfig(width=0.03, minutes=1.5 / 60, expert_share=0.3, windows=2)
    clips = [spoken(seed) for seed in range(10)]
    trainer = Wav2LipTrainer(clips, tmp_path, config)
    assert len(trainer.validation) == 1 and len(trainer.clips) == 9
    trainer.train()
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text("utf-8").splitlines()]
    assert trainer.progress() == 1 and lines[-1]["step"] == trainer.run.step > 1
    resumed = Wav2LipTrainer(clips, tmp_path, config)
    assert resumed.run.step == trainer.run.step and resumed.run.seconds == trainer.run.seconds
    for name, value in trainer.generator.state_dict().items():
        assert torch.equal(resumed.generator.state_dict()[name], value)


def test_a_reference_is_another_moment():
    trainer_clip = spoken(0, 60)
    assert LowerFaceExpert(6)(torch.rand(2, 5, 3, FACE_SIZE, FACE_SIZE)).shape == (2, 6)
    trainer = Wav2LipTrainer.__new__(Wav2LipTrainer)
    trainer.of_person, trainer.random = {"p0": [trainer_clip]}, torch.Generator().manual_seed(0)
    for _ in range(20):
        chosen = trainer._reference(trainer_clip, 10)
        row = int((trainer_clip.faces == chosen).flatten(1).all(1).nonzero()[0])
        assert abs(row - 10) >= 25


def test_shipped_weights_are_small_and_load():
    assert WEIGHTS.stat().st_size <= 2_300_000
    assert load_wav2lip(WEIGHTS).width < 1
