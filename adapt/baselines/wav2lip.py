"""Wav2Lip as a method of a comparison: our own re-implementation, with weights of your own or the authors'."""

import os
from pathlib import Path

import torch

from adapt.baselines.contract import WAV2LIP, CompareMethod, Enrollment, Query
from adapt.cache import code_sha256
from prior.baselines.wav2lip import ENVIRONMENT, draw_wav2lip, load_wav2lip
from prior.baselines.wav2lip import WEIGHTS as WAV2LIP_WEIGHTS
from render.store import file_sha256


def wav2lip_method() -> CompareMethod:
    """Wav2Lip, ours or the user's own weights; follows sound, and takes its reference from the enrollment.

    Raises:
        StoreError: its weights are not there.
    """
    path = Path(os.environ.get(ENVIRONMENT) or WAV2LIP_WEIGHTS)
    model = load_wav2lip(path)

    def draw(enrollment: Enrollment, query: Query) -> torch.Tensor:
        if query.waveform is None:
            raise ValueError("wav2lip: the query has no sound")
        return draw_wav2lip(model, enrollment.crops, query.crops, query.erased, query.waveform, query.seconds)

    facts = {"weights": file_sha256(path), "code": code_sha256("prior.baselines.wav2lip")}
    return CompareMethod(WAV2LIP, draw, facts, needs_sound=True)
