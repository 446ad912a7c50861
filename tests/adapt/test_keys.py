"""Keys of a mouth's motion: where they lie, what an edit does, and what no edit can do."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from adapt.motion.controls import FASTEST_CM_S, Cue, Intensity, directed, slowed
from adapt.motion.keys import (
    COLUMNS,
    REACH_SECONDS,
    Key,
    KeyEdits,
    between_edits,
    coefficients_per_cm,
    keys_of,
    measured_at,
    read_keys,
    write_keys,
)
from adapt.motion.sources import Sound
from prior.motion.key_places import key_places
from prior.motion.marks import speech_marks
from prior.motion.style import mouth_measures
from prior.speech.phonemes import CLASSES, INDEX, LABEL_RATE
from render.errors import ConfigError

SENTENCE = Path(__file__).parents[2] / "examples" / "sentence.flac"
NAN = float("nan")


def opening(expression, speaker):
    return (expression - speaker.closed) @ speaker.opening_axis


def of_sounds(*sounds):
    """Posteriors of sounds, (class, rows) each."""
    labels = torch.tensor([INDEX[name] for name, rows in sounds for _ in range(rows)])
    return torch.nn.functional.one_hot(labels, len(CLASSES)).float()


def test_keys_lie_at_boundaries_and_in_the_middle_of_what_lips_make():
    places = key_places(of_sounds(("sil", 10), ("m", 6), ("a", 8), ("s", 5), ("f", 4), ("sil", 9)))
    assert [(place.row, place.sound) for place in places] == [
        *[(9.5, "m"), (12.5, "m"), (15.5, "a"), (23.5, "s"), (28.5, "f"), (30.5, "f"), (32.5, "sil")]
    ]
    assert not key_places(of_sounds(("sil", 20)))
    assert [place.sound for place in key_places(of_sounds(("sil", 9), ("t", 1), ("a", 9)))] == ["a"]


@pytest.fixture(scope="module")
def keys(spoken, speaker):
    places = key_places(speech_marks(Sound(SENTENCE).waveform).heard)
    return keys_of(spoken, [(round(place.row / LABEL_RATE, 3), place.sound) for place in places], speaker)


def edited(keys, number, **change):
    """The keys with one of them changed: `opening=0.4` adds so much."""
    names = ("opening", "width", "rounding")
    wanted = [value + change.get(name, 0) for name, value in zip(names, keys[number].wanted, strict=True)]
    return [*keys[:number], replace(keys[number], wanted=tuple(wanted)), *keys[number + 1 :]]


def test_a_table_that_was_not_edited_changes_nothing(spoken, speaker, keys, tmp_path):
    write_keys(tmp_path / "keys.csv", keys)
    table = read_keys(tmp_path / "keys.csv")
    assert len(table.keys) == len(keys) > 20 and {key.sound for key in keys} > {"m", "p", "sil"}
    assert torch.equal(directed(spoken, speaker, [Cue(table)]), spoken.expression)
    bare = [line.split(",")[:5] for line in (tmp_path / "keys.csv").read_text().splitlines()]
    (tmp_path / "bare.csv").write_text("\n".join(map(",".join, bare)))
    assert torch.equal(directed(spoken, speaker, [Cue(read_keys(tmp_path / "bare.csv"))]), spoken.expression)


def test_an_edit_is_reached_and_changes_only_its_neighbourhood(spoken, speaker, keys):
    free = [n for n, key in enumerate(keys) if key.wanted[0] > 0.3]
    number = free[len(free) // 2]
    time = keys[number].seconds
    one = KeyEdits(tuple(edited(keys, number, opening=0.2, width=-0.1)))
    after = one.applied(spoken, speaker)
    moved = measured_at(after, torch.tensor([time], dtype=torch.float64), speaker)[0]
    was = torch.tensor(keys[number].wanted)
    torch.testing.assert_close(moved, was + torch.tensor([0.2, -0.1, 0.0]), atol=0.02, rtol=0)  # a row is 20 ms
    expression = directed(spoken, speaker, [Cue(one)])
    outside = (spoken.seconds - time).abs() >= REACH_SECONDS
    assert torch.equal(expression[outside], spoken.expression[outside])
    assert not torch.equal(expression, spoken.expression)


def test_edits_flow_into_each_other_and_never_beyond():
    seconds = torch.arange(0, 200, dtype=torch.float64) / 100
    times = torch.tensor([0.5, 0.6, 1.2], dtype=torch.float64)
    added = between_edits(seconds, times, torch.tensor([[1.0], [0.4], [-1.0]]))[:, 0]
    torch.testing.assert_close(added[[50, 55, 60, 120]], torch.tensor([1.0, 0.7, 0.4, -1.0]))
    assert not added[:31].any() and not added[80:101].any() and not added[140:].any()
    assert float(added.max()) <= 1 and float(added.min()) >= -1


def test_a_centimetre_of_each_measure_leaves_the_others(speaker):
    added = coefficients_per_cm(speaker)
    model = speaker.face_model
    moved = mouth_measures(model, speaker.closed + added) - mouth_measures(model, speaker.closed)
    torch.testing.assert_close(moved, torch.eye(3), atol=1e-4, rtol=0)


def test_a_hundred_random_edits_break_neither_closures_nor_speed(spoken, speaker, keys):
    generator = torch.Generator().manual_seed(0)
    limit = torch.maximum(
        opening(spoken.expression, speaker).diff().abs(), (FASTEST_CM_S * spoken.seconds.diff()).float()
    )
    together = spoken.shut > 0.99
    for trial in range(100):
        edits = torch.randn(len(keys), 3, generator=generator) * torch.tensor([1.5, 0.5, 0.2])
        some = torch.rand(len(keys), generator=generator) < (0.1, 0.5, 1.0)[trial % 3]
        wanted = [
            replace(key, wanted=tuple(value + float(more) for value, more in zip(key.wanted, edit, strict=True)))
            if is_edited
            else key
            for key, edit, is_edited in zip(keys, edits, some.tolist(), strict=True)
        ]
        gap = opening(directed(spoken, speaker, [Cue(KeyEdits(tuple(wanted)))]), speaker)
        assert float(gap[together].max()) < 2e-3 and float(gap.min()) > -2e-3
        assert bool((gap.diff().abs() <= limit + 1e-3).all())


def test_what_is_too_fast_is_slowed_and_what_did_not_change_stays():
    seconds = torch.arange(9, dtype=torch.float64) / 25
    step = FASTEST_CM_S / 25
    before = torch.tensor([0.0, 0.0, 0.0, 0.0, 3 * step, 0.0, 0.0, 0.0, 0.0])  # as fast as it was, it may be
    after = before + torch.tensor([0.0, 0.0, 9.0, 0.0, 0.0, 0.0, -0.5, 0.0, 0.0])
    torch.testing.assert_close(slowed(before, after, seconds)[2:7], torch.tensor([step, 0, 3 * step, 0, -0.5]))
    assert torch.equal(slowed(before, before, seconds), before)


def test_keys_come_before_intensity(spoken, speaker, keys):
    one = Cue(KeyEdits(tuple(edited(keys, len(keys) // 2, opening=0.3))))
    both = directed(spoken, speaker, [Cue(Intensity(1.3)), one])
    assert torch.equal(both, directed(spoken, speaker, [one, Cue(Intensity(1.3))]))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("time,sound,open\n", "row 1: no column open; did you mean opening?"),
        ("time,opening\n,1\n", "row 2: no time; give seconds of the shot"),
        ("time,opening\n1,wide\n", "row 2: opening wide: give centimetres from -6 to 6"),
        ("time,opening\n1,60\n", "row 2: opening 60: give centimetres from -6 to 6"),
        ("time,opening\n1,1\n2,1\n1.001,2\n", "row 4: time 1.001: there is a key already"),
    ],
)
def test_a_wrong_table_is_told_with_its_row(tmp_path, table, message):
    (tmp_path / "keys.csv").write_text(table)
    with pytest.raises(ConfigError) as error:
        read_keys(tmp_path / "keys.csv")
    assert message in str(error.value)


def test_cells_may_be_left_out(tmp_path):
    (tmp_path / "keys.csv").write_text("opening,time\n0.5,0:01.5\n,1\n")
    first, second = read_keys(tmp_path / "keys.csv").keys
    assert first.seconds == 1.0 and first.sound == "" and str(first.wanted) == str((NAN, NAN, NAN))
    assert second == Key(1.5, "", second.wanted, second.predicted) and second.wanted[0] == 0.5
    assert COLUMNS[:5] == ("time", "sound", "opening", "width", "rounding")
