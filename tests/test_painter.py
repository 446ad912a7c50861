import numpy as np

from adapt.painter import FEATHER_PX, STILL_FEATHER_PX, STILL_INSET_PX, feathered
from render.gbuffer import CROP_SIZE, PASTE_MARGIN_PX

SHAPE = (CROP_SIZE, CROP_SIZE)


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
