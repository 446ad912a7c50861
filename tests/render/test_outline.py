import cv2
import numpy as np
import pytest
import torch

from prior.face.model import load_face_model
from prior.face.points import LIPS_INNER
from render.compositing.outline import BARE_PX, LOOK_PX, SHADOW_PX, Outline, carried_skin, outline
from render.drawing.crop import CROP_SIZE


def face(chin_px: int) -> np.ndarray:
    """A lower face whose chin is in that row of a crop."""
    mask = np.zeros((LOOK_PX, LOOK_PX), bool)
    mask[50 : chin_px // 2, 30:100] = True
    return mask


def test_a_face_that_stays_leaves_nothing_bare():
    found = outline(face(200), face(204), face(120))
    assert not found.bare.any() and not found.near_bare.any()
    assert found.mouth[110, 130] == 1 and found.mouth[124, 130] == 0


def test_where_the_chin_was_and_below_it_the_shadow_is_bare():
    higher, lower = outline(face(190), face(206), face(120)), outline(face(206), face(190), face(120))
    rows = np.flatnonzero(higher.bare[:, 130])
    assert rows[0] == 190 and rows[-1] == 205 + SHADOW_PX
    assert not lower.bare.any() and not lower.near_bare.any()
    assert higher.near_bare[198, 130] > 0.9
    assert higher.near_bare[120, 60] == 0 == higher.near_bare[150, 196]


def test_a_chin_that_rises_little_by_little_is_bare_little_by_little():
    near = [outline(face(206 - rise), face(206), face(120)).near_bare[202, 130] for rise in (4, 6, 8, 10)]
    assert near[0] == 0 and near[1] == pytest.approx((6 - BARE_PX[0]) / (BARE_PX[1] - BARE_PX[0]), abs=0.03)
    assert min(near[2:]) > 0.99


def test_a_strip_that_runs_out_along_the_jaw_is_bare_to_its_ends():
    new = face(190)
    new[95:101, 30:50] = True  # at the side 4 px are left bare, of 16
    found = outline(new, face(206), face(120))
    assert found.bare[203, 70] == 1 == found.bare[203, 150] and found.bare[198, 70] == 0


def test_the_sources_skin_goes_with_the_face(talking_clip):
    model, track = load_face_model(), talking_clip[1].with_crop_size(CROP_SIZE)
    closed, wide = torch.tensor([0]), track.lower_expression[:, 0].abs().argmax()[None]
    own = track.clip_vertices(model, closed)
    drawn = track.clip_vertices(model, closed, track.lower_expression[wide])
    place = [((one[0, :, :2] / one[0, :, 3:]) * torch.tensor([0.5, -0.5]) + 0.5) * CROP_SIZE for one in (own, drawn)]
    chin = 152
    assert (place[0][chin] - place[1][chin]).norm() > 3, "the chin moves"
    source = np.zeros((CROP_SIZE, CROP_SIZE, 3), np.float32)
    cv2.circle(source, tuple(place[0][chin].round().int().tolist()), 6, (1.0, 0.0, 0.0), -1)
    carried = carried_skin(model, drawn, own, source)
    rows, columns = np.nonzero(carried[..., 0] > 0.5)
    # The mark's upper half: below the chin there is no face that would carry it.
    assert abs(columns.mean() - float(place[1][chin, 0])) < 2 and abs(rows.max() - float(place[1][chin, 1])) < 4
    same = carried_skin(model, own, own, source)
    assert np.abs(same - source)[: int(place[0][chin, 1]) - 3].max() < 0.35  # resampled at half the size
    assert Outline.of(model, own, own).bare.max() == 0
    assert Outline.of(model, own, drawn).mouth[tuple(place[1][list(LIPS_INNER)].mean(0).flip(0).int().tolist())] == 1
