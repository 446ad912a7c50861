"""Emotion of a mouth: what is learnt of acted takes, how it is scored, and what ships."""

import numpy as np
import pytest
import torch

from adapt.motion.words import EMOTIONS
from prior.benchmarks.emotion import KEPT, ActedTake, changed, learnt, named, shape_of_lips
from prior.face.model import load_face_model
from prior.face.points import LIP_PAIRS
from prior.motion.emotion import (
    SHAPE,
    UPPER_LIP,
    EmotionalMouth,
    load_emotions,
    mouth_shape,
    save_emotions,
    shipped_emotions,
)
from prior.motion.style import CORNERS
from render.errors import StoreError
from render.store import save_tensors

SMILE = EmotionalMouth(torch.tensor([0.2, 0.4, 0.1, 0.1]), torch.tensor([1.5, 1.2, 1.0, 1.0]))


def acted(speaker, text, mouth=None, seed=0):
    """A neutral take of a text, or one that shows an emotion."""
    rng = np.random.default_rng(seed)
    shape = np.array([1.0, 5.0, 1.0, -0.5]) + 0.2 * rng.standard_normal((200, 4))
    shape += 0.02 * rng.standard_normal(4)  # no two takes are alike
    return ActedTake(speaker, "happy" if mouth else "neutral", text, changed(shape, mouth, 1.0) if mouth else shape)


@pytest.fixture(scope="module")
def found():
    """Three speakers say eight texts, neutral and happy."""
    seeds = iter(range(1000))
    return [
        acted(speaker, str(text), mouth, next(seeds))
        for speaker in "abc"
        for text in range(8)
        for mouth in (None, SMILE)
    ]


def test_sensors_are_measured_as_the_mouth_is():
    lips = np.zeros((1, 4, 3))
    lips[0] = [[2, 0, 9], [2, 0, 4], [-1, 3, 7], [-1, -3, 7]]  # upper, lower, corners
    assert shape_of_lips(lips).tolist() == [[5, 6, 3, -2]]
    model = load_face_model()
    lower = torch.linspace(-0.5, 0.5, len(model.lower_basis))
    vertices = model.mean + torch.einsum("e,evk->vk", lower, model.lower_basis)
    opening, width, _, height = mouth_shape(model, lower).tolist()
    upper, under = (list(points) for points in zip(*LIP_PAIRS[:3], strict=True))
    assert opening == pytest.approx(float((vertices[upper, 1] - vertices[under, 1]).mean()), abs=1e-4)
    assert width == pytest.approx(float(vertices[CORNERS[1], 0] - vertices[CORNERS[0], 0]), abs=1e-4)
    assert height == pytest.approx(float(vertices[list(CORNERS), 1].mean() - vertices[UPPER_LIP, 1]), abs=1e-4)
    assert len(SHAPE) == 4


def test_what_an_emotion_does_is_learnt_and_told_by_a_judge_of_real_takes(found):
    mouth = learnt(found, ["happy"])["happy"]
    torch.testing.assert_close(mouth.shift, SMILE.shift, atol=0.03, rtol=0)
    torch.testing.assert_close(mouth.ratio, SMILE.ratio, atol=0.05, rtol=0)
    rows = list(named(found, ["happy"]))
    assert [row["speaker left out"] for row in rows] == ["a", "b", "c"]
    for row in rows:
        assert row["real takes named right"] == row["changed takes named right"] == 1.0
        odds = row["probability by strength"]
        assert odds == sorted(odds) and odds[0] < 0.1 and odds[-1] > 0.9


def test_a_stronger_emotion_is_further_from_neutral():
    shape = acted("a", "1").shape
    away = [np.abs(changed(shape, SMILE, strength).mean(0) - shape.mean(0)).sum() for strength in (0, 0.3, 0.6, 1)]
    spread = [changed(shape, SMILE, strength).std(0)[0] for strength in (0, 0.3, 0.6, 1)]
    assert away == sorted(away) and spread == sorted(spread) and away[0] < 1e-9
    assert spread[3] / spread[0] == pytest.approx(1.5, abs=1e-6)


def test_words_that_ship_are_those_that_can_be_asked_for():
    assert tuple(shipped_emotions()) == EMOTIONS == KEPT
    happy, angry = shipped_emotions().values()
    assert happy.shift[1] > angry.shift[1] > 0, "who smiles has a wider mouth"
    assert happy.shift[3] > 0 > angry.shift[3], "and its corners lie higher"
    assert happy.ratio[0] > 1 and angry.ratio[0] > 1


def test_a_file_comes_back_and_a_damaged_one_is_refused(tmp_path):
    path = tmp_path / "emotion.safetensors"
    save_emotions(path, {"calm": SMILE}, {"speakers": 3})
    back = load_emotions(path)["calm"]
    assert torch.equal(back.shift, SMILE.shift) and torch.equal(back.ratio, SMILE.ratio)
    save_emotions(path, {"calm": EmotionalMouth(SMILE.shift, 0 * SMILE.ratio)}, {})
    with pytest.raises(StoreError, match="ratio holds values that are not between 0.25 and 4"):
        load_emotions(path)
    save_tensors(path, "adapt-emotions", 1, {"shift": torch.zeros(1, 4), "ratio": torch.ones(1, 4)}, {})
    with pytest.raises(StoreError, match="emotions are no words"):
        load_emotions(path)
