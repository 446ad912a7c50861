from pathlib import Path
from types import SimpleNamespace

import pytest

from adapt.cast.analyse import choose_person, everyone
from adapt.tracking.crop import read_crops
from render.errors import TrackingError
from render.video.reader import Footage


def analysis(*counts):
    cast = [SimpleNamespace(number=number, frame_count=count) for number, count in enumerate(counts, 1)]
    return SimpleNamespace(cast=cast, footage=SimpleNamespace(path=Path("two.mp4")))


def test_several_people_are_one_line_that_says_how_to_choose():
    with pytest.raises(
        TrackingError,
        match="two.mp4: several people .1: 90 frames, 2: 60 frames.; choose one: the same command with --person 1",
    ):
        choose_person(analysis(90, 60), None, "the same command with --person 1")


def test_who_is_seen_for_a_moment_is_not_meant():
    assert choose_person(analysis(90, 10), None, "adapt fit") == 1


def test_nobody_is_one_line():
    with pytest.raises(TrackingError, match="two.mp4: no face was found"):
        choose_person(analysis(), None, "the same command with --person 1")


def test_everyone_is_at_least_one():
    assert everyone(analysis(90, 10)) == [1, 2]
    with pytest.raises(TrackingError, match="two.mp4: no face was found"):
        everyone(analysis())


def test_a_frame_that_is_asked_for_twice_is_read_twice(talking_clip):
    path, take = talking_clip
    crops = read_crops(Footage(path), take, [7, 3, 7])
    assert (crops[0] == crops[2]).all() and crops[0].any() and (crops[0] != crops[1]).any()
