"""The sync network: lags of known motion, curves, training, evaluation, and the shipped weights."""

from pathlib import Path

import numpy as np
import pytest
import torch

from prior.benchmarks.sync import area_under_curve, found_share, model_curve, true_against_shuffled
from prior.face.model import load_face_model
from prior.motion.model import SOUND_INPUTS, load_motion_model
from prior.motion.style import MouthStyle, mouth_measures
from prior.motion.sync import (
    LAGS,
    LONGEST_LAG_FRAMES,
    MARGIN_ROWS,
    WEIGHTS,
    SyncConfig,
    SyncModel,
    best_lag,
    load_sync_model,
    motion_rows,
)
from prior.speech.phonemes import LABEL_RATE, SILENCE
from prior.speech.sound import SAMPLE_RATE, read_waveform
from prior.training.spoken_clips import SpokenClip
from prior.training.sync import SyncTrainer, contrasts
from render.errors import StoreError
from render.head.motion import Motion

SENTENCE = Path(__file__).parents[2] / "examples" / "sentence.flac"


def talk(seconds: float, seed: int) -> SpokenClip:
    """A clip whose first two lower axes follow two sounds, with noise."""
    random = torch.Generator().manual_seed(seed)
    count = round(seconds * LABEL_RATE)
    slow = torch.nn.functional.interpolate(torch.randn(1, 2, count // 8 + 2, generator=random), count, mode="linear")[
        0
    ].T
    rows = 0.1 * torch.randn(count, SOUND_INPUTS, generator=random)
    rows[:, SILENCE] = 0
    rows[:, 5:7] += slow
    axes = load_face_model().lower_basis.shape[0]
    lower = 0.3 * torch.randn(count, axes, generator=random)
    lower[:, :2] += slow
    known = torch.ones(count, dtype=torch.bool)
    measures = mouth_measures(load_face_model(), lower)
    style = MouthStyle.of(lower, measures[:, 0])
    return SpokenClip(f"c{seed}", f"p{seed}", rows[:, :4], rows, torch.ones(count), lower, known, style, measures)


@pytest.fixture(scope="module")
def model() -> SyncModel:
    clips = [talk(8.0, seed) for seed in range(3)]
    trainer = SyncTrainer(clips, SyncConfig(clips[0].lower.shape[1], 8, 4, (1,)), 0)
    losses = trainer.train(6, 4)
    assert set(losses) == {"lags", "clips"} and all(np.isfinite(value) for value in losses.values())
    return trainer.model


def test_known_shifts_of_unseen_clips_are_found(model: SyncModel):
    clips = [talk(6.0, seed) for seed in (10, 11, 12)]
    curve = model_curve(model)
    share, tries = found_share(curve, clips, 2.0)
    assert tries == 5 * 3 * 5 and share > 0.95
    assert true_against_shuffled(curve, clips, 2.0) > 0.85


def test_a_curve_peaks_where_the_sound_lies(model: SyncModel):
    clip = talk(4.0, 20)
    for lag in (-LONGEST_LAG_FRAMES, -4, 0, 9):
        # The first motion row goes with a later sound row: as a whole the sound is late.
        curve = model.curve(clip.rows, clip.lower[40:160], clip.known[40:160], 40 - 2 * lag)
        assert best_lag(curve).lag_frames == lag and best_lag(curve).confidence > 0
    far = model.curve(clip.rows[:60], clip.lower, clip.known, 0)
    assert float(far[0]) == -torch.inf, "little overlaps there"


def test_contrasts_are_mean_products():
    random = torch.Generator().manual_seed(0)
    heard = torch.randn(2, 10 + 2 * MARGIN_ROWS, 3, generator=random)
    seen, known = torch.randn(2, 10, 3, generator=random), torch.ones(2, 10, dtype=torch.bool)
    known[0, 3] = False
    lags, clips = contrasts(heard, torch.ones(heard.shape[:2]), seen, known)
    assert lags.shape == (2, len(LAGS)) and clips.shape == (2, 2)
    rows = [row for row in range(10) if row != 3]
    wanted = np.mean([float(heard[0, row + 2] @ seen[0, row]) for row in rows])
    assert float(lags[0, 1]) == pytest.approx(wanted, abs=1e-5)
    assert torch.allclose(lags[:, LONGEST_LAG_FRAMES], clips.diagonal(), atol=1e-5)


def test_motion_is_read_at_its_own_times():
    times = torch.tensor([1.0, 1.05, 1.1, 2.0, 2.05], dtype=torch.float64)
    values = (times.float() * 10)[:, None]
    lower, known, first = motion_rows(Motion(times, values, torch.ones(5)))
    assert first == LABEL_RATE and len(lower) == 53
    assert torch.allclose(lower[:, 0], 10 * (first + torch.arange(53)) / LABEL_RATE, atol=1e-4)
    assert known[:6].all() and not known[10:45].any() and known[-1]
    with pytest.raises(ValueError, match="0 frames of 5"):
        motion_rows(Motion(times, values, torch.zeros(5)))


def test_area_under_curve():
    assert area_under_curve(np.array([2.0, 3.0]), np.array([0.0, 1.0])) == 1
    assert area_under_curve(np.array([1.0]), np.array([1.0])) == 0.5


def test_weights_round_trip(model: SyncModel, tmp_path: Path):
    model.save(tmp_path / "sync.safetensors", {"clips": 3})
    loaded = load_sync_model(tmp_path / "sync.safetensors")
    clip = talk(3.0, 5)
    curves = [one.curve(clip.rows, clip.lower, clip.known) for one in (model, loaded)]
    assert torch.allclose(*curves, atol=0.02 * float(curves[0].abs().max()))
    with pytest.raises(StoreError):
        load_sync_model(tmp_path / "none.safetensors")


def test_shipped_network_finds_how_late_a_sentence_is(actor_motion: Motion):
    """The synthetic actor says the committed sentence; the sound is moved by known frames."""
    model, waveform = load_sync_model(), read_waveform(SENTENCE)
    assert WEIGHTS.stat().st_size <= 500_000
    own = model.offset(actor_motion, waveform)
    assert abs(own.lag_frames) <= 1 and own.confidence > 1
    for frames in (1, 2, 5, -5):
        samples = np.zeros(abs(frames) * SAMPLE_RATE // 25, np.float32)
        moved = np.concatenate([samples, waveform]) if frames > 0 else waveform[len(samples) :]
        assert abs(model.offset(actor_motion, moved).lag_frames - own.lag_frames - frames) <= 1
    other = model.offset(actor_motion, waveform[::-1].copy())
    assert other.confidence < 0.5 * own.confidence
    with pytest.raises(ValueError, match="1.0 s are needed"):
        model.offset(actor_motion, waveform[: SAMPLE_RATE // 2])


@pytest.fixture(scope="module")
def actor_motion() -> Motion:
    """Mouth of the shipped audio-to-motion model saying the sentence, which no sync network learnt from."""
    times = np.arange(0, 3.8, 1 / 25)
    return load_motion_model().predict(SENTENCE, times)
