import numpy as np
import pytest

from adapt.benchmarks.dub import border_gradient_ratio, part_of_track, table
from render.compositing.composite import Patch


def patch():
    """A soft square in the middle of a crop that lies 10 px right of and 20 px below the picture's corner."""
    matte = np.zeros((64, 64), np.float32)
    matte[16:48, 16:48] = 1
    matte[14:16, 16:48] = matte[48:50, 16:48] = 0.5
    return Patch(np.zeros((64, 64, 3), np.float32), matte, np.array([[1.0, 0, -10], [0, 1, -20]]))


def test_a_seam_is_seen_where_it_is_and_nowhere_else():
    source = np.random.default_rng(0).integers(100, 110, (100, 100, 3)).astype(np.uint8)
    assert border_gradient_ratio(source, source, patch()) == 1
    inside, across = source.copy(), source.copy()
    inside[48:56, 36:48] = 0
    across[36:69, 26:58] += 60
    assert border_gradient_ratio(source, inside, patch()) == 1
    assert border_gradient_ratio(source, across, patch()) > 5


def test_rows_of_a_track(talking_clip):
    part = part_of_track(talking_clip[1], 3, 9)
    assert len(part) == 6 and len(part.rotation) == 6 and len(part.shape) == len(talking_clip[1].shape)


def test_the_table_holds_every_line_and_the_means():
    own = [
        {"person": name, "size": "1×1", "native": value, "crop": value, "renderer": value, "seam": 1.0}
        for name, value in (("a", 20.0), ("b", 30.0))
    ]
    text = table(own, [{"person": "a", "driver": "b", "frames": 3, "opening": 0.9}])
    assert "| mean | | 25.00 |" in text and "| a | b | 3 | 0.900 |" in text
    assert pytest.approx(1.0) == float(text.splitlines()[4].split("|")[-2])
