"""Audio to motion: style, gate, windows, and the shipped model's behaviour."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from adapt.motion.placement import motion_at
from prior.benchmarks.motion import closures
from prior.face.model import load_face_model
from prior.motion import sampling
from prior.motion.closures import CLOSURE_LEAD_ROWS, GATE_REACH_ROWS, lips_near, speech_gate
from prior.motion.model import INPUTS, MotionConfig, MotionModel, load_motion_model, shipped_motion_model
from prior.motion.style import MouthStyle, mouth_measures
from prior.speech import phonemes
from prior.speech.features import FRAME_RATE
from prior.speech.phonemes import CLASSES, CLOSED, INDEX, LABEL_RATE, SILENCE
from prior.speech.sound import SAMPLE_RATE, read_waveform
from prior.training.motion import concordance_over_known, with_denoiser
from prior.training.spoken_clips import SpokenClip
from render.errors import StoreError

SENTENCE = Path(__file__).parents[2] / "examples" / "sentence.flac"


def sentence_labels() -> np.ndarray:
    """Exact classes of the committed synthetic sentence, from its phone end times."""
    phones = json.loads(SENTENCE.with_suffix(".json").read_text("utf-8"))["phones"]
    starts = [0.0, *(end for _, end in phones)]
    segments = [
        (start, end, phonemes.classes_of_arpabet(phone)) for start, (phone, end) in zip(starts, phones, strict=False)
    ]
    return phonemes.label_rows(segments, starts[-1])


def random_model(axes: int = 4) -> MotionModel:
    torch.manual_seed(0)
    return MotionModel(MotionConfig(axes, 16, (1, 2), 2)).eval()


def opening(motion) -> np.ndarray:
    return mouth_measures(load_face_model(), motion.lower_expression)[:, 0].numpy()


def buzz(seconds: float) -> np.ndarray:
    """Syllables of a voiced buzz through one formant: sounds like "a a a" to the encoder."""
    t = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    voice = sum(np.sin(2 * np.pi * 120 * k * t) * np.exp(-(((120 * k - 750) / 400) ** 2)) for k in range(1, 30))
    return (0.1 * voice * (np.sin(2 * np.pi * 3 * t) > 0)).astype(np.float32)


def syllables(seconds: float) -> np.ndarray:
    """Three times a second the same syllable of a recorded voice, an "a"."""
    one = read_waveform(SENTENCE)[SAMPLE_RATE : round(1.16 * SAMPLE_RATE)]
    sound = np.zeros(round(seconds * SAMPLE_RATE), np.float32)
    for start in np.arange(0, seconds, 1 / 3):
        first = int(start * SAMPLE_RATE)
        sound[first : first + len(one)] += (one * np.hanning(len(one)) ** 0.3)[: len(sound) - first]
    return sound


def test_style_is_the_least_open_mouth_and_the_spread():
    expression = torch.zeros(100, 3)
    expression[:, 0] = torch.linspace(0, 1, 100)
    expression[:, 1] = 2.0
    style = MouthStyle.of(expression, expression[:, 0])
    assert style.closed[0] == pytest.approx(0.045, abs=0.01) and style.closed[1] == 2.0
    assert style.spread[0] == pytest.approx(expression[:, 0].std()) and style.spread[1] == 0.0
    with pytest.raises(ValueError, match="3 frames"):
        MouthStyle.of(expression[:3], expression[:3, 0])


def test_little_footage_leans_on_the_population():
    model = random_model()
    style = MouthStyle(torch.ones(4), torch.ones(4), torch.full((4,), 1.8), torch.tensor(0.0))
    model.neutral_mean.fill_(0.25)
    closed, mean, spread = model.blended(style)
    torch.testing.assert_close(closed, torch.ones(4))
    torch.testing.assert_close(mean, torch.full((4,), 1.25))
    torch.testing.assert_close(spread, model.neutral_spread)
    much = replace(style, frames=torch.tensor(1e9))
    torch.testing.assert_close(model.blended(much)[2], style.spread)
    wild = replace(style, spread=50 * style.spread, frames=torch.tensor(1e9))
    torch.testing.assert_close(model.blended(wild)[2], 2 * model.neutral_spread)


def test_silent_enrollment_does_not_keep_the_mouth_shut():
    model = random_model()
    for name in ("opening_axis", "closing_direction"):
        getattr(model, name).copy_(torch.tensor([1.0, 0.0, 0.0, 0.0]))
    model.neutral_mean.copy_(torch.tensor([0.8, 0.0, 0.0, 0.0]))
    shut = torch.tensor([0.3, 0.5, 0.0, 0.0])
    silent = MouthStyle(shut, shut, torch.full((4,), 1e-3), torch.tensor(1e9))
    _, mean, _ = model.blended(silent)
    torch.testing.assert_close(mean, torch.tensor([0.7, 0.5, 0.0, 0.0]))  # half of the population's opening


def test_gate_opens_around_speech_and_ignores_one_stray_row():
    phonetic = torch.zeros(400, len(CLASSES))
    phonetic[:, SILENCE] = 1.0
    for speech in (slice(50, 51), slice(220, 250)):
        phonetic[speech, SILENCE], phonetic[speech, INDEX["a"]] = 0.0, 1.0
    gate, reach = speech_gate(phonetic), GATE_REACH_ROWS
    assert gate.shape == (400,)
    assert gate[: 220 - 2 * reach].max() == 0.0 and gate[250 + 2 * reach :].max() == 0.0
    torch.testing.assert_close(gate[220:250], torch.ones(30))
    assert 0 < gate[220 - reach] < 1


def test_lips_come_together_along_the_way_mouths_close():
    model = random_model()
    model.opening_axis.copy_(torch.tensor([1.0, 0.0, 0.0, 0.0]))
    model.closing_direction.copy_(torch.tensor([1.0, 0.5, 0.0, 0.0]))
    rows = torch.zeros(40, INPUTS)
    gate = torch.ones(40)
    rows[20, INDEX["m"]] = 1.0
    before = model.neutral_mean + model.neutral_spread * model.displacement(rows)
    before[:, 0] += 1.0 - before[:, 0].min()  # open all the time
    mean = torch.tensor([0.8, 0.0, 0.0, 0.0])
    after = model.with_closures(before, torch.zeros(4), mean, rows)
    closed = 20 - CLOSURE_LEAD_ROWS
    torch.testing.assert_close(after[closed], before[closed] - before[closed, 0] * model.closing_direction)
    torch.testing.assert_close(after[[*range(10), *range(30, 40)]], before[[*range(10), *range(30, 40)]])
    steps = lips_near(rows, CLOSED).diff().abs()
    assert steps.max() < 0.6  # neither closes nor opens within one row
    assert (model.expression(rows, gate) @ model.opening_axis).min() >= -1e-6  # lips meet, they do not pass
    rows[20, INDEX["m"]], rows[20, INDEX["f"]] = 0.0, 1.0
    bitten = model.with_closures(before, torch.zeros(4), mean, rows)
    assert bitten[closed] @ model.opening_axis == pytest.approx(0.4)  # half of the mean opening


def test_prediction_does_not_depend_on_the_piece_size(monkeypatch):
    model = random_model()
    rows = torch.rand(700, INPUTS)
    whole = model.displacement(rows)
    monkeypatch.setattr(sampling, "PIECE_ROWS", 64)
    torch.testing.assert_close(model.displacement(rows), whole, atol=1e-5, rtol=0)


def test_weights_round_trip_and_a_missing_file_is_named(tmp_path):
    model = random_model()
    model.save(tmp_path / "motion.safetensors", {})
    rows = torch.rand(60, INPUTS)
    again = load_motion_model(tmp_path / "motion.safetensors")
    torch.testing.assert_close(again.displacement(rows), model.displacement(rows), atol=5e-3, rtol=0)
    with pytest.raises(StoreError, match="absent"):
        load_motion_model(tmp_path / "absent.safetensors")


def test_a_model_that_samples_is_learnt_stored_and_read(tmp_path):
    count = 300
    wave = torch.sin(torch.arange(count) / 5)[:, None].expand(-1, 4).contiguous()
    style = MouthStyle(torch.zeros(4), torch.zeros(4), torch.ones(4), torch.tensor(300.0))
    known, rows = torch.ones(count, dtype=torch.bool), torch.rand(count, INPUTS)
    clip = SpokenClip("c", "p", rows, rows, torch.ones(count), wave, known, style, wave[:, :3])
    model = random_model()
    sampled, loss = with_denoiser(model, [(clip, torch.zeros(count, 4))], 3, 2, seed=0)
    assert 0 < loss < 10
    assert not torch.allclose(sampled.displacement(rows), model.displacement(rows))
    sampled.save(tmp_path / "sampled.safetensors", {})
    again = load_motion_model(tmp_path / "sampled.safetensors")
    torch.testing.assert_close(again.displacement(rows), sampled.displacement(rows), atol=2e-2, rtol=0)


def test_concordance_by_hand():
    truth = torch.tensor([0.0, 1.0, 2.0, 3.0])[None, :, None]
    known = torch.ones(1, 4)
    torch.testing.assert_close(concordance_over_known(truth, truth, known), torch.ones(1, 1), atol=1e-4, rtol=0)
    # Half the spread, same mean: 2 cov / (var + var) = 2 * 0.625 / (1.25 + 0.3125).
    torch.testing.assert_close(
        concordance_over_known(truth / 2 + 0.75, truth, known), torch.full((1, 1), 0.8), atol=1e-4, rtol=0
    )


def test_shipped_model_fits_the_shipped_face_model():
    assert shipped_motion_model().config.axes == load_face_model().lower_basis.shape[0]


def test_mouth_is_closed_and_still_in_silence_and_moves_in_sound():
    model = shipped_motion_model()
    frames = np.arange(0, 4.0, 1 / 25)
    still = opening(model.predict(np.zeros(4 * SAMPLE_RATE, np.float32), frames))
    moving = opening(model.predict(syllables(4.0), frames))
    assert still.std() < 0.01  # cm
    assert moving.std() > 10 * max(still.std(), 0.005) and moving.mean() > still.mean()


def test_motion_lands_on_the_frames_own_times_and_follows_the_sound():
    model, sound = shipped_motion_model(), syllables(3.0)
    for fps in (23.976, 25.0, 29.97):
        frames = np.arange(0, 3.0, 1 / fps)
        motion = model.predict(sound, frames)
        np.testing.assert_array_equal(motion.timestamps.numpy(), frames)
        assert motion.lower_expression.shape[0] == len(frames)
    frames = np.arange(0, 3.0, 1 / 25)
    reference = opening(model.predict(sound, frames))
    for k in (-10, 3, 10):
        pad = np.zeros(abs(k) * SAMPLE_RATE // 25, np.float32)
        moved = opening(model.predict(np.concatenate([pad, sound]) if k > 0 else sound[len(pad) :], frames))
        fits = [
            np.corrcoef(
                reference[20 : len(frames) - 20],
                moved[20 + lag : len(frames) - 20 + lag],
            )[0, 1]
            for lag in range(-14, 15)
        ]
        assert abs(int(np.argmax(fits)) - 14 - k) <= 1


def onsets(seconds: np.ndarray, gap: np.ndarray) -> np.ndarray:
    """When an opening rises through its middle."""
    middle = (gap.min() + gap.max()) / 2
    before = np.flatnonzero((gap[:-1] < middle) & (gap[1:] >= middle))
    part = (middle - gap[before]) / (gap[before + 1] - gap[before])
    return seconds[before] + part * (seconds[before + 1] - seconds[before])


@pytest.mark.parametrize("steps", [[1 / 23.976], [1 / 25], [1 / 29.97], [1 / 24, 1 / 30, 1 / 25, 1 / 60]])
def test_syllables_land_within_a_frame_at_every_rate_as_dub_places_them(steps):
    model, sound = shipped_motion_model(), syllables(3.0)
    times = np.arange(3 * LABEL_RATE) / LABEL_RATE
    motion = model.predict(sound, times)
    frames = np.concatenate([[0.0], np.cumsum(np.resize(steps, 100))])
    frames = frames[frames < 3.0 - 1 / LABEL_RATE]
    placed, driven = motion_at(motion, torch.from_numpy(frames), model.neutral_closed)
    assert driven.all()
    expected = onsets(times, opening(motion))
    found = onsets(frames, mouth_measures(load_face_model(), placed)[:, 0].numpy())
    assert len(expected) == len(found) >= 8
    assert np.abs(found - expected).max() <= max(steps)
    # Heard at every third of a second; seen up to a tenth earlier, as mouths open before they sound.
    early = (np.arange(1, 9) / 3)[:, None] - found
    assert ((early > -max(steps)) & (early < 0.1 + max(steps))).any(1).all()


def test_what_lies_beyond_a_sounds_end_is_silence(monkeypatch):
    monkeypatch.setattr("prior.motion.model.voice", lambda detector, mel, heard: torch.ones(len(heard)))  # or no buzz
    model, frames = shipped_motion_model(), np.arange(0.7, 1.0, 0.04)
    alone = opening(model.predict(buzz(1.0), frames))
    inside = opening(model.predict(np.concatenate([buzz(1.0), np.zeros(SAMPLE_RATE, np.float32)]), frames))
    np.testing.assert_allclose(alone, inside, atol=0.05)  # cm


def test_frames_beyond_the_sound_are_closed_and_unsure():
    motion = shipped_motion_model().predict(syllables(1.0), np.arange(0, 2.0, 0.04))
    assert (motion.confidence[:25] == 1).all() and (motion.confidence[26:] == 0).all()
    gap = opening(motion)
    assert gap[27:].std() < 1e-6


def test_an_actors_style_sets_rest_and_range():
    model = shipped_motion_model()
    frames = np.arange(0, 2.0, 0.04)
    closed, spread = model.neutral_closed + 0.1, 1.5 * model.neutral_spread
    mean = closed + 1.5 * (model.neutral_mean - model.neutral_closed)
    style = MouthStyle(closed, mean, spread, torch.tensor(1e9))
    plain, styled = (model.predict(syllables(2.0), frames, chosen).lower_expression for chosen in (None, style))
    torch.testing.assert_close(styled - style.closed, 1.5 * (plain - model.neutral_closed), atol=1e-4, rtol=0)


def test_lips_come_together_at_p_and_m_of_the_sentence():
    found = closures(shipped_motion_model(), load_face_model(), read_waveform(SENTENCE), sentence_labels())
    # Two of the eight are heard as n: 6 of 8 come together. Over many sentences and voices the share is higher.
    assert found["instances"] == 8
    assert found["closed"] >= 6


def test_label_rate_divides_the_feature_rate():
    assert FRAME_RATE % LABEL_RATE == 0
