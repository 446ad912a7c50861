"""Closures: where the lips have to meet (p b m) or nearly so (f v), and when nobody speaks.

In: phonetic posteriors [T, C] at `LABEL_RATE`. Out: weights [T] in [0, 1].
"""

from __future__ import annotations

import torch
from torch import nn

from prior.speech.phonemes import SILENCE

# Opening later was tried: .32 s ahead of speech costs .007 of concordance, .2 s ahead .020, .16 s ahead .029.
GATE_REACH_ROWS = 12  # the mouth leaves and returns to rest within twice this many rows (0.5 s) of speech
CLOSURE_DOUBTFUL, CLOSURE_SURE = 0.15, 0.4  # posterior of p b m from which lips begin to, and do, come together
LABIODENTAL_OPENING = 0.5  # at most, at f v; in the person's mean opening of talking, the lip is at the teeth then
CLOSURE_LEAD_ROWS = 1  # lips meet this much before the middle of an m: what viewers are used to
CLOSURE_EASE_ROWS = 3  # Hann window over which lips come together and part; they are held for as many rows


def speech_gate(phonetic: torch.Tensor) -> torch.Tensor:
    """How much the mouth may move: 1 in and around speech, 0 in silence, easing over `GATE_REACH_ROWS`.

    Args:
        phonetic: posteriors [T, len(CLASSES)].
    """
    speech = 1 - phonetic[:, SILENCE]
    size = 2 * GATE_REACH_ROWS + 1
    # Alone, one row of a stray class is a click or a breath: the median of five forgets it.
    padded = nn.functional.pad(speech[None, None], (2, 2), mode="replicate")[0, 0]
    steady = padded.unfold(0, 5, 1).median(1).values
    reached = nn.functional.max_pool1d(steady[None, None], size, 1, GATE_REACH_ROWS)
    return eased(reached[0, 0], size)


def lips_near(rows: torch.Tensor, classes: tuple[int, ...]) -> torch.Tensor:
    """How far the lips are brought near [T] in [0, 1], in input rows [T, INPUTS], from the posteriors of `classes`."""
    probability = rows[:, list(classes)].sum(-1)
    sure = ((probability - CLOSURE_DOUBTFUL) / (CLOSURE_SURE - CLOSURE_DOUBTFUL)).clamp(0, 1)
    ahead = nn.functional.pad(sure, (0, CLOSURE_LEAD_ROWS))[CLOSURE_LEAD_ROWS:]
    held = nn.functional.max_pool1d(ahead[None, None], CLOSURE_EASE_ROWS, 1, CLOSURE_EASE_ROWS // 2)[0, 0]
    return eased(held, CLOSURE_EASE_ROWS)


def eased(series: torch.Tensor, size: int) -> torch.Tensor:
    """A series [T] averaged with a Hann window over `size` (odd) rows; its ends are held."""
    window = torch.hann_window(size + 2, periodic=False)[1:-1]
    padded = nn.functional.pad(series[None, None], (size // 2, size // 2), mode="replicate")
    return nn.functional.conv1d(padded, (window / window.sum())[None, None])[0, 0]
