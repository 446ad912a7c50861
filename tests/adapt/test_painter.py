import numpy as np

from render.compositing.matte import FACE_FEATHER_PX, FACE_INSET_PX, FEATHER_PX, feathered
from render.drawing.crop import CROP_SIZE
from render.drawing.masks import PUT_BACK_MARGIN_PX

SHAPE = (CROP_SIZE, CROP_SIZE)


def test_the_matte_ends_at_the_face_and_beyond_it_where_that_leaves_something_bare():
    put_back, ones = np.zeros(SHAPE, np.float32), np.ones(SHAPE, np.float32)
    put_back[100:220, 40:220] = 1
    at_face, beyond = (feathered(ones, put_back, np.full(SHAPE, edge, np.float32)) for edge in (0, 1))
    inside = np.arange(40, 130) - 39  # px from the border of what is put back
    assert (at_face[160, 40:130][inside <= FACE_INSET_PX] == 0).all()
    assert (at_face[160, 40:130][inside >= FACE_INSET_PX + FACE_FEATHER_PX + 1] == 1).all()
    assert beyond[160, 39 + PUT_BACK_MARGIN_PX] > 0.7 and beyond[160, 40 + FEATHER_PX] == 1
    assert at_face[:, :40].max() == 0 == beyond[:, :40].max()
    assert np.array_equal(beyond, feathered(ones, put_back))


def test_half_bare_the_matte_is_half_way_between_the_faces_and_the_wider_one():
    face, wide, ones = np.zeros(SHAPE, np.float32), np.zeros(SHAPE, np.float32), np.ones(SHAPE, np.float32)
    face[100:190, 40:220] = wide[100:220, 40:220] = 1
    none, half, all_of_it = (feathered(ones, wide, np.full(SHAPE, near, np.float32), face) for near in (0, 0.5, 1))
    assert np.array_equal(none, feathered(ones, face, np.zeros(SHAPE, np.float32)))
    assert np.array_equal(all_of_it, feathered(ones, wide))
    assert np.allclose(half, (none + all_of_it) / 2, atol=1e-6) and half[200, 130] == 0.5
