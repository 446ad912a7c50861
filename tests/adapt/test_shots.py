import numpy as np
import pytest

from adapt.cast.shots import mark_cuts


class Picture:
    def __init__(self, rgb: np.ndarray, timestamp: float) -> None:
        self.preview = rgb
        self.timestamp = timestamp


def scene(seed: int, shift: float = 0.0, light: float = 1.0) -> np.ndarray:
    """A smooth random scene, moved sideways by `shift` px; uint8 [90, 160, 3]."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:90, 0:160].astype(np.float32)
    x = x + shift
    base = rng.uniform(40, 160, 3)
    waves = [
        base[c] + 50 * np.sin(x / rng.uniform(8, 20) + rng.uniform(0, 6)) * np.cos(y / rng.uniform(8, 20))
        for c in range(3)
    ]
    return np.clip(np.stack(waves, axis=2) * light, 0, 255).astype(np.uint8)


def cuts(pictures: list[np.ndarray], rate: float = 25) -> list[int]:
    marked = list(mark_cuts(Picture(rgb, index / rate) for index, rgb in enumerate(pictures)))
    assert [picture.preview is rgb for (picture, _), rgb in zip(marked, pictures, strict=True)] == [True] * len(
        pictures
    )
    return [index for index, (_, is_cut) in enumerate(marked) if is_cut]


def test_cuts_between_scenes_are_found_to_the_frame() -> None:
    pictures = [scene(1)] * 10 + [scene(2)] * 7 + [scene(3)] * 3 + [scene(1)] * 5
    assert cuts(pictures) == [0, 10, 17, 20]


def test_black_frames_and_a_title_are_shots() -> None:
    black, title = np.zeros((90, 160, 3), np.uint8), np.full((90, 160, 3), 60, np.uint8)
    assert cuts([scene(1)] * 10 + [black] * 8 + [title] * 8 + [scene(1)] * 8) == [0, 10, 18, 26]


@pytest.mark.parametrize(
    "pictures",
    [
        [scene(1, shift=1.5 * index) for index in range(30)],
        [scene(1, shift=6.0 * max(0, index - 10)) for index in range(30)],
        [scene(1, light=1 - index / 40) for index in range(30)],
        [scene(1)] * 10 + [scene(1, light=1.8)] + [scene(1)] * 10,
        [scene(1)] * 10 + [scene(4)] * 4 + [scene(1)] * 10,
    ],
    ids=["slow pan", "sudden fast pan", "fade", "flash", "something in the way"],
)
def test_movement_fades_and_flashes_are_no_cuts(pictures: list[np.ndarray]) -> None:
    assert cuts(pictures) == [0]


def test_one_frame_and_none() -> None:
    assert cuts([scene(1)]) == [0]
    assert cuts([]) == []


def test_a_cut_in_the_last_frames_is_found() -> None:
    assert cuts([scene(1)] * 10 + [scene(2)]) == [0, 10]


@pytest.mark.parametrize("rate", [24, 30, 60, 240])
def test_a_flash_is_no_shot_at_any_frame_rate_and_what_lasts_is_one(rate: int) -> None:
    flash, insert = round(0.15 * rate), round(0.4 * rate)
    before = [scene(1)] * rate
    assert cuts(before + [scene(4)] * flash + before, rate) == [0]
    assert cuts(before + [scene(4)] * insert + before, rate) == [0, rate, rate + insert]


def test_at_a_frame_a_second_every_picture_may_be_a_shot() -> None:
    assert cuts([scene(1)] * 4 + [scene(4)] + [scene(1)] * 4, 1) == [0, 4, 5]
    assert cuts([scene(1, shift=6.0 * index) for index in range(9)], 1) == [0]
