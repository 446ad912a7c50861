"""The lip encoder: its columns on the label clock, and how it is learnt from a teacher's hidden units."""

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from prior.motion.model import INPUTS, SOUND_INPUTS, input_rows, silent_rows, sound_rows
from prior.motion.style import MouthStyle
from prior.speech import lip_encoder
from prior.speech.features import MEL_BANDS, features
from prior.speech.lip_encoder import COLUMNS, LipEncoder, LipEncoderConfig, lip_columns, load_lip_encoder
from prior.speech.phonetics import PhoneticConfig, PhoneticEncoder, shipped_phonetics
from prior.speech.sound import SAMPLE_RATE, read_waveform
from prior.teachers import whisper
from prior.teachers.whisper import WhisperEncoder, slaney_bands
from prior.training.lip_encoder import Directions, HeardSound, LipEncoderTrainer, heard_sounds, lip_directions
from prior.training.spoken_clips import SpokenClip
from render.errors import StoreError

SENTENCE = Path(__file__).parents[2] / "examples" / "sentence.flac"


@pytest.fixture
def ears():
    torch.manual_seed(0)
    encoder = PhoneticEncoder(PhoneticConfig(16, (1, 2))).eval()
    return LipEncoder(LipEncoderConfig(16, 16, (1, 2))).eval(), encoder


def test_columns_do_not_depend_on_the_piece_size(ears, monkeypatch):
    mel = torch.randn(901, MEL_BANDS) * 3 - 12
    whole = lip_columns(*ears, mel)
    assert whole.shape == (451, COLUMNS)
    monkeypatch.setattr(lip_encoder, "PIECE_ROWS", 70)
    torch.testing.assert_close(lip_columns(*ears, mel), whole, atol=1e-5, rtol=0)


def test_a_column_hears_only_its_context(ears):
    lips, encoder = ears
    mel = torch.randn(401, MEL_BANDS) * 3 - 12
    changed = mel.clone()
    changed[200] += 5.0
    moved = (lip_columns(*ears, mel) - lip_columns(*ears, changed)).abs().sum(1) > 1e-6
    rows = moved.nonzero()[:, 0]
    assert len(rows) and (rows - 100).abs().max() <= lips.context_rows + encoder.context_rows


def test_weights_round_trip(ears, tmp_path):
    lips, encoder = ears
    lips.silent[0] = 0.5
    lips.save(tmp_path / "lip_encoder.safetensors", {"note": 1})
    again = load_lip_encoder(tmp_path / "lip_encoder.safetensors")
    mel = torch.randn(101, MEL_BANDS) * 3 - 12
    assert again.silent[0] == 0.5
    torch.testing.assert_close(lip_columns(again, encoder, mel), lip_columns(lips, encoder, mel), atol=1e-2, rtol=0)


def test_what_is_no_voice_is_heard_as_silence():
    tone = np.sin(np.arange(3 * SAMPLE_RATE) * 2 * np.pi * 1000 / SAMPLE_RATE).astype(np.float32)
    rows, _ = input_rows(shipped_phonetics(), features(0.1 * tone))
    expected = silent_rows(1)[0]
    assert rows.shape[1] == INPUTS == len(expected)
    torch.testing.assert_close(rows[50:100, -COLUMNS:], expected[-COLUMNS:].expand(50, -1))


def test_rows_of_a_sound_begin_with_those_of_its_speech_sounds():
    sound = features(read_waveform(SENTENCE))
    rows, gate = input_rows(shipped_phonetics(), sound)
    spoken, same_gate = sound_rows(shipped_phonetics(), sound)
    assert torch.equal(rows[:, :SOUND_INPUTS], spoken) and torch.equal(gate, same_gate)


def clips_led_by(hidden: torch.Tensor, driver: int, count: int) -> list[SpokenClip]:
    """Clips whose lips do what one of the hidden units did 40 ms before."""
    motion = torch.roll(hidden[:, driver : driver + 1], 2, 0)
    known = torch.ones(len(hidden), dtype=torch.bool)
    known[:20] = known[-20:] = False
    style = MouthStyle(torch.zeros(2), torch.zeros(2), torch.ones(2), count)
    one = SpokenClip("a", "a", hidden, hidden, known.float(), motion.expand(-1, 2), known, style, motion.expand(-1, 3))
    return [one] * count


def test_directions_are_those_that_lips_follow(monkeypatch):
    monkeypatch.setattr("prior.training.lip_encoder.PRINCIPAL", 40)
    hidden = torch.randn(2000, 40, generator=torch.Generator().manual_seed(0)) * torch.linspace(0.5, 2.0, 40)
    found = lip_directions(clips_led_by(hidden, 3, 2), [hidden, hidden])
    columns = found.columns(hidden)
    agreement = torch.corrcoef(torch.stack([columns[:, 0], hidden[:, 3]]))[0, 1].abs()
    assert agreement > 0.99
    assert found.importance[0] == 1 and found.importance[1] < 0.1
    torch.testing.assert_close(columns[20:-20].std(0), torch.ones(COLUMNS), atol=0.02, rtol=0)


class LoudnessTeacher:
    """Two hidden units: the level of each 20 ms, and nothing."""

    def __call__(self, waveform: np.ndarray) -> torch.Tensor:
        frames = torch.from_numpy(waveform[: len(waveform) // 320 * 320]).reshape(-1, 320)
        level = (frames.square().mean(1) + 1e-6).log()
        return torch.stack([level, torch.zeros(len(level))], 1)


def test_the_trainer_learns_what_the_teacher_makes_of_sound(ears):
    hidden = LoudnessTeacher()(read_waveform(SENTENCE))
    directions = Directions(
        hidden.mean(0),
        torch.cat([1 / hidden[:, :1].std() * torch.ones(1, COLUMNS), torch.zeros(1, COLUMNS)]),
        torch.ones(COLUMNS),
    )
    sounds = heard_sounds(iter([("clip", read_waveform(SENTENCE))]), LoudnessTeacher(), directions, 0)
    assert [type(one) for one in sounds] == [HeardSound] * 2  # as it is, and at another speed
    assert len(sounds[0].columns) != len(sounds[1].columns)
    trainer = LipEncoderTrainer(shipped_phonetics(), sounds, directions.importance, 0)
    with torch.no_grad():
        before = float(trainer.loss(4))
    trainer.train(12, 4, 3e-3)
    with torch.no_grad():
        after = float(trainer.loss(4))
    assert after < 0.6 * before
    assert trainer.kept.silent.abs().sum() > 0


def stored(variables: dict[str, np.ndarray]) -> bytes:
    """A CTranslate2 model of some variables."""

    def text(name: str) -> bytes:
        return struct.pack("<H", len(name) + 1) + name.encode() + b"\0"

    parts = [struct.pack("<I", 6), text("WhisperSpec"), struct.pack("<I", 3), struct.pack("<I", len(variables))]
    for name, values in variables.items():
        sizes = struct.pack(f"<B{values.ndim}I", values.ndim, *values.shape)
        parts += [text(name), sizes, struct.pack("<BI", 4, values.nbytes), values.tobytes()]
    return b"".join(parts)


def test_the_teacher_is_an_encoder_of_layers_with_norms_first(tmp_path, monkeypatch):
    monkeypatch.setattr(whisper, "HEADS_OF", {8: 2})
    monkeypatch.setattr(whisper, "LAYER", 1)
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 32, 0.0, "gelu", batch_first=True, norm_first=True).half().float()
    first, second = nn.Conv1d(80, 8, 3).half().float(), nn.Conv1d(8, 8, 3).half().float()
    place = torch.randn(1500, 8).half().float()
    named = {
        "conv1": first,
        "conv2": second,
        "layer_0/self_attention/layer_norm": layer.norm1,
        "layer_0/self_attention/linear_1": layer.self_attn.out_proj,
        "layer_0/ffn/layer_norm": layer.norm2,
        "layer_0/ffn/linear_0": layer.linear1,
        "layer_0/ffn/linear_1": layer.linear2,
    }
    variables = {"encoder/position_encodings/encodings": place, "decoder/other": torch.ones(3)}
    variables["encoder/layer_0/self_attention/linear_0/weight"] = layer.self_attn.in_proj_weight
    variables["encoder/layer_0/self_attention/linear_0/bias"] = layer.self_attn.in_proj_bias
    for name, part in named.items():
        weight = "gamma" if name.endswith("norm") else "weight"
        variables[f"encoder/{name}/{weight}"] = part.weight
        variables[f"encoder/{name}/{'beta' if weight == 'gamma' else 'bias'}"] = part.bias
    file = stored({name: value.detach().numpy().astype(np.float16) for name, value in variables.items()})
    paths = [tmp_path / "one", tmp_path / "two"]
    paths[0].write_bytes(file[:1000]), paths[1].write_bytes(file[1000:])
    teacher = WhisperEncoder(paths)
    waveform = read_waveform(SENTENCE)[: 2 * SAMPLE_RATE]
    mel = teacher._log_mel(torch.from_numpy(np.pad(waveform, (0, 2 * SAMPLE_RATE))))
    rows = nn.functional.gelu(nn.functional.conv1d(mel[None], first.weight, first.bias, padding=1))
    rows = nn.functional.gelu(nn.functional.conv1d(rows, second.weight, second.bias, 2, padding=1))[0].T
    expected = layer.eval()((rows + place[: len(rows)])[None])[0]
    torch.testing.assert_close(teacher(waveform), expected[:100], atol=1e-4, rtol=0)
    with pytest.raises(StoreError, match=r"one: not a CTranslate2 model\.bin, or not all of its parts"):
        WhisperEncoder(paths[:1])
    with pytest.raises(StoreError, match="three: No such file or directory; give"):
        WhisperEncoder([*paths, tmp_path / "three"])


def test_bands_are_of_unit_area():
    bands = slaney_bands()
    assert bands.shape == (80, 201)
    wide = bands[50:].sum(1) * SAMPLE_RATE / 400  # of those that span many bins
    torch.testing.assert_close(wide, torch.ones(30), atol=0.05, rtol=0)
