import numpy as np

from adapt.painter import FEATHER_PX, LEAST_SHIFT_PX, SHADOW_PX, STILL_FEATHER_PX, STILL_INSET_PX, Shift, feathered
from render.gbuffer import CROP_SIZE, PASTE_MARGIN_PX

SHAPE = (CROP_SIZE, CROP_SIZE)


def face(chin: int) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[100:chin, 60:200] = True
    return mask


def test_a_face_that_stays_shifts_nothing():
    shift = Shift.of(face(200), face(200 + LEAST_SHIFT_PX - 1))
    assert not shift.shadow.any() and not shift.edge.any()


def test_where_the_chin_was_and_below_it_the_shadow_is_painted_over():
    shift = Shift.of(face(190), face(205))
    rows = np.flatnonzero(shift.shadow[:, 130])
    assert rows[0] == 190 and rows[-1] == 204 + SHADOW_PX
    assert shift.edge[198, 130] > 0.9 and shift.edge[120, 60] == 0 == shift.edge[150, 200]
    lower = Shift.of(face(205), face(190))
    assert not lower.shadow.any() and lower.edge[198, 130] > 0.9


def test_the_matte_ends_at_the_face_where_that_stays_and_beyond_it_where_it_shifts():
    paste, ones = np.zeros(SHAPE, np.float32), np.ones(SHAPE, np.float32)
    paste[100:220, 40:220] = 1
    still, shifting = (feathered(ones, paste, np.full(SHAPE, edge, np.float32)) for edge in (0, 1))
    inside = np.arange(40, 130) - 39  # px from the border of what is put back
    assert (still[160, 40:130][inside <= STILL_INSET_PX] == 0).all()
    assert (still[160, 40:130][inside >= STILL_INSET_PX + STILL_FEATHER_PX + 1] == 1).all()
    assert shifting[160, 39 + PASTE_MARGIN_PX] > 0.7 and shifting[160, 40 + FEATHER_PX] == 1
    assert still[:, :40].max() == 0 == shifting[:, :40].max()
    assert np.array_equal(shifting, feathered(ones, paste))
