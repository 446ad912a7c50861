"""What a comparison's enrollment tells of the mouth: its frames, and its sound where that is the actor's own."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from adapt.baselines.contract import Enrollment, enrolled_style
from adapt.synthetic.actor import make_actor
from prior.face.model import load_face_model
from prior.motion.model import shipped_motion_model
from prior.speech.sound import SAMPLE_RATE, read_waveform

SENTENCE = Path(__file__).parents[2] / "examples" / "sentence.flac"


def test_own_sound_is_learnt_from_and_silence_or_too_few_frames_are_not():
    waveform, model, actor = read_waveform(SENTENCE), shipped_motion_model(), make_actor(320)
    times = torch.arange(int(25 * len(waveform) / SAMPLE_RATE), dtype=torch.float64) / 25
    take = actor.perform(model.predict(waveform, times.numpy()).lower_expression, times)
    late = replace(take, timestamps=take.timestamps + 7.0)
    crops = torch.zeros(len(take), 3, 1, 1, dtype=torch.uint8)
    told = enrolled_style(load_face_model(), model, Enrollment(late, crops, waveform, "a"))
    assert float(told.speech.seconds) == pytest.approx(len(waveform) / SAMPLE_RATE, abs=1.0)
    deaf = enrolled_style(load_face_model(), model, Enrollment(late, crops, None, "b"))
    silent = enrolled_style(load_face_model(), model, Enrollment(late, crops, np.zeros_like(waveform), "c"))
    assert deaf.speech is None and silent.speech is None and torch.equal(deaf.mean, told.mean)
    unsure = replace(late, confidence=torch.zeros(len(take)))
    assert enrolled_style(load_face_model(), model, Enrollment(unsure, crops, waveform, "d")) is None
