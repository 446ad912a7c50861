"""Learn what emotions do to a mouth, and score it: `python -m prior.benchmarks.emotion DIR`, with `--out FILE` to keep.

DIR holds lips that were measured while people acted (`prior.benchmarks.articulography`). What is kept is the mean over
speakers. It is scored with each speaker left out in turn: neutral takes of a text are changed as the others' are when
they act; the speaker's own real takes of all *other* texts teach a classifier (linear discriminants), which has to
name the emotion of the changed takes, and beside it of the real ones. Prints JSON lines.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import torch

from prior.benchmarks.articulography import measured_lips
from prior.benchmarks.ceiling import Utterance, likeness, takes
from prior.face.model import load_face_model
from prior.motion.emotion import EmotionalMouth, mouth_shape, save_emotions
from prior.motion.model import shipped_motion_model
from prior.training.run import one_line_errors

NEUTRAL = "neutral"
#: Word → the acted emotions that it stands for. What is learnt is all but neutral that people do alike.
ACTED = {
    NEUTRAL: ("neutral",),
    "happy": ("moderate joy", "intense joy"),
    "angry": ("intense anger",),
    "sad": ("moderate sadness",),
    "crying": ("intense sadness",),
    "cross": ("moderate anger",),
}
#: Those that are kept: told, with the speaker left out, about as often as the speaker's own.
KEPT = ("happy", "angry")
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
#: A classifier's covariance is widened by so much of its diagonal: fewer takes than it would like.
WIDENED = 0.1


@dataclass(frozen=True)
class ActedTake:
    """One utterance.

    Attributes:
        speaker, word, text: of the utterance; the word is one of `ACTED`.
        shape: [T, 4] of `prior.motion.emotion.SHAPE`, cm, as if the speaker's head were the average one.
    """

    speaker: str
    word: str
    text: str
    shape: np.ndarray

    @property
    def statistics(self) -> np.ndarray:
        """[8] means and logarithms of spreads."""
        return np.concatenate([self.shape.mean(0), np.log(self.shape.std(0))])


def shape_of_lips(lips: np.ndarray) -> np.ndarray:
    """[T, 4] of `SHAPE` of sensors [T, 4, 3]: apart from a constant, as the skin is not the lips' inner border."""
    upper, lower, corners = lips[:, 0], lips[:, 1], lips[:, 2:].mean(1)
    opening, width = (np.linalg.norm(one, axis=-1) for one in (upper - lower, lips[:, 2] - lips[:, 3]))
    protrusion = (upper[:, 0] + lower[:, 0]) / 2 - corners[:, 0]
    return np.stack([opening, width, protrusion, corners[:, 2] - upper[:, 2]], 1)


def acted_takes(folder: Path, width_cm: float) -> list[ActedTake]:
    """Every utterance of a folder, scaled so that speakers' mouths are as wide as `width_cm` when they are neutral."""
    words = {emotion: word for word, emotions in ACTED.items() for emotion in emotions}
    found = [
        ActedTake(entry["speaker"], words[entry["emotion"]], str(entry["text"]), shape_of_lips(lips))
        for entry, lips, _ in measured_lips(folder)
    ]
    widths = {
        speaker: np.mean([take.shape[:, 1].mean() for take in found if (take.speaker, take.word) == (speaker, NEUTRAL)])
        for speaker in {take.speaker for take in found}
    }
    return [
        ActedTake(take.speaker, take.word, take.text, take.shape * (width_cm / widths[take.speaker])) for take in found
    ]


def learnt(found: Sequence[ActedTake], words: Sequence[str]) -> dict[str, EmotionalMouth]:
    """What each word does to a mouth: the mean over speakers of what it does to theirs."""
    mouths = {}
    for word in words:
        changes = []
        for speaker in sorted({take.speaker for take in found}):
            of_word, neutral = (
                np.mean([take.statistics for take in found if (take.speaker, take.word) == (speaker, one)], 0)
                for one in (word, NEUTRAL)
            )
            changes.append(of_word - neutral)
        shift, ratio = torch.from_numpy(np.mean(changes, 0)).float().chunk(2)
        mouths[word] = EmotionalMouth(shift, ratio.exp())
    return mouths


def changed(shape: np.ndarray, mouth: EmotionalMouth, strength: float) -> np.ndarray:
    """A take [T, 4] with an emotion, as `--emotion` does it."""
    mean = shape.mean(0)
    return mean + strength * mouth.shift.numpy() + (shape - mean) * mouth.ratio.numpy() ** strength


class Discriminants:
    """Linear discriminants with one covariance for all words; of statistics [N, D] and their words [N]."""

    def __init__(self, statistics: np.ndarray, words: Sequence[str]) -> None:
        given = np.array(words)
        self.words = sorted(set(words))
        self.means = np.array([statistics[given == word].mean(0) for word in self.words])
        rest = statistics - self.means[[self.words.index(word) for word in words]]
        covariance = rest.T @ rest / (len(rest) - len(self.words))
        self.precision = np.linalg.inv(covariance + WIDENED * np.diag(np.diag(covariance)))

    def probabilities(self, statistics: np.ndarray) -> np.ndarray:
        """Of every word, for one take's statistics [D]."""
        away = statistics - self.means
        odds = -0.5 * np.einsum("wd,de,we->w", away, self.precision, away)
        likely = np.exp(odds - odds.max())
        return likely / likely.sum()


def named(found: Sequence[ActedTake], words: Sequence[str]) -> Iterator[dict[str, object]]:
    """How often words are told, on held-out texts of speakers left out: a row for each word and speaker."""
    among = [take for take in found if take.word in (NEUTRAL, *words)]
    for speaker, word in product(sorted({take.speaker for take in among}), words):
        mouth = learnt([take for take in among if take.speaker != speaker], [word])[word]
        own = [take for take in among if take.speaker == speaker]
        real, made = [], []
        for text in sorted({take.text for take in own}):
            others = [take for take in own if take.text != text]
            judge = Discriminants(np.stack([take.statistics for take in others]), [take.word for take in others])
            place = judge.words.index(word)
            for take in (take for take in own if take.text == text):
                if take.word == word:
                    real.append(int(judge.probabilities(take.statistics).argmax() == place))
                if take.word == NEUTRAL:
                    with_emotion = [
                        ActedTake(speaker, word, text, changed(take.shape, mouth, strength)).statistics
                        for strength in STRENGTHS
                    ]
                    made.append([judge.probabilities(one) for one in with_emotion])
        odds = np.array(made)
        yield {
            "word": word,
            "speaker left out": speaker,
            "real takes named right": round(float(np.mean(real)), 3),
            "changed takes named right": round(float((odds[:, -1].argmax(-1) == place).mean()), 3),
            "probability by strength": odds[..., place].mean(0).round(3).tolist(),
        }


def content(every: Sequence[Utterance], words: Sequence[str]) -> dict[str, float]:
    """How alike a neutral take and an acted one of the same person and text are, aligned by sound: mean correlation."""
    emotions = {emotion for word in words for emotion in ACTED[word]}
    pairs = [
        (one, other)
        for one, other in product(every, every)
        if one.emotion == NEUTRAL
        and other.emotion in emotions
        and (one.speaker, one.text) == (other.speaker, other.text)
    ]
    return {"pairs": len(pairs), "r": round(float(np.mean([likeness(*pair) for pair in pairs])), 3)}


def main() -> None:
    """Command line; see the module's first lines."""
    parser = argparse.ArgumentParser(description="Learn what emotions do to a mouth, and score it.")
    parser.add_argument("folder", type=Path, help="lips by articulography and their sound")
    parser.add_argument("--out", type=Path, help="file that is written with what was learnt of all speakers")
    parser.add_argument("--content", action="store_true", help="say, too, how alike real takes of one text are")
    with one_line_errors("prior.benchmarks.emotion"):
        torch.set_grad_enabled(False)
        options = parser.parse_args()
        model = shipped_motion_model()
        width = float(mouth_shape(load_face_model(), model.neutral_mean)[1])
        found = acted_takes(options.folder, width)
        for words in (tuple(word for word in ACTED if word != NEUTRAL), KEPT):
            for row in named(found, words):
                print(json.dumps({"among": len(words) + 1, **row}))
        if options.content:
            print(json.dumps({"neutral and acted takes": content(list(takes(options.folder, model)), KEPT)}))
        mouths = learnt(found, KEPT)
        print(json.dumps({word: [mouth.shift.tolist(), mouth.ratio.tolist()] for word, mouth in mouths.items()}))
        if options.out:
            save_emotions(options.out, mouths, learnt_facts(found, width))


def learnt_facts(found: Sequence[ActedTake], width_cm: float) -> dict[str, object]:
    """What a file of emotions says of how they were learnt."""
    counted: Mapping[str, int] = {word: sum(take.word == word for take in found) for word in (NEUTRAL, *KEPT)}
    return {"takes": counted, "speakers": len({take.speaker for take in found}), "width_cm": round(width_cm, 4)}


if __name__ == "__main__":
    main()
