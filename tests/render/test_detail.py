"""Detail beyond the renderer's crops: kept from frames at their own size, and drawn back at the source's."""

import time

import cv2
import numpy as np
import pytest
import torch

from prior.face.model import load_face_model
from prior.renderer.unwrapping import unwrap
from render.drawing.detail import DETAIL_SIZE, RANGE, Detail, enlarged, fine_luma, native_size, with_detail
from render.drawing.gbuffer import gbuffer
from render.drawing.look import BANK_FRAMES
from render.errors import StoreError

MODEL = load_face_model()
SIZE = 512


def stripes(size: int) -> torch.Tensor:
    """A picture [1, 3, size, size] with stripes that a crop of 256 px cannot hold."""
    across = torch.linspace(0, 1, size).expand(size, size)
    rows = (torch.arange(size) % 2).float()[:, None] - 0.5
    return (0.4 + 0.2 * across + 0.2 * rows).expand(1, 3, -1, -1).contiguous()


def test_detail_of_a_frame_comes_back_where_that_frame_counts(talking_clip):
    track = talking_clip[1].with_crop_size(SIZE)
    vertices = track.clip_vertices(MODEL, torch.tensor([5]))
    native = stripes(SIZE)
    crop = torch.nn.functional.avg_pool2d(native, SIZE // 256)
    values, weight = unwrap(MODEL, vertices, fine_luma(native, crop), DETAIL_SIZE, "bicubic")
    maps = torch.zeros(1, BANK_FRAMES, DETAIL_SIZE, DETAIL_SIZE)
    maps[0, 2] = (values * (weight > 0))[0, 0]
    detail = Detail(maps, 2.0)
    buffer = gbuffer(MODEL, vertices, SIZE)
    shares = torch.zeros(1, BANK_FRAMES, 256, 256)
    inside = buffer.lower_face[0, 0] > 0
    errors = []
    for frame in (2, 3):  # the one that shows the stripes, and one that shows nothing
        counted = shares.index_fill(1, torch.tensor([frame]), 1.0)
        drawn = with_detail(crop, counted, detail, buffer.uv, buffer.covered)
        assert drawn.shape == (1, 3, SIZE, SIZE)
        errors.append(float((drawn - native)[:, :, inside].abs().mean()))
    assert errors[0] < 0.5 * errors[1], "two samplings soften it, no more"
    assert errors[1] == pytest.approx(float((enlarged(crop, SIZE) - native)[:, :, inside].abs().mean()), abs=1e-6)
    outside = buffer.covered[0, 0] == 0
    assert float((drawn - enlarged(crop, SIZE).clamp(0, 1))[:, :, outside].abs().max()) == 0


def test_maps_survive_storage_and_shrink_to_a_coarser_shot():
    generator = torch.Generator().manual_seed(0)
    small = torch.rand(1, BANK_FRAMES, 64, 64, generator=generator) - 0.5
    maps = torch.nn.functional.interpolate(0.4 * small, size=(DETAIL_SIZE, DETAIL_SIZE), mode="bilinear")
    again = Detail.of_stored(Detail(maps, 1.9).stored())
    assert again.scale == pytest.approx(1.9) and float((again.maps - maps).abs().max()) < 0.03 < RANGE
    assert again.at_scale(2.5) is again
    coarse = again.at_scale(1.3)
    assert coarse.maps.shape[-1] == round(DETAIL_SIZE * 1.3 / 1.9)
    assert float(coarse.maps.mean()) == pytest.approx(float(again.maps.mean()), abs=1e-3)


def test_a_native_crop_holds_what_the_source_shows_within_bounds():
    assert (native_size(0.5), native_size(2.0), native_size(99)) == (256, 512, 1024)


def test_what_is_no_detail_is_refused():
    stored = Detail(torch.zeros(1, BANK_FRAMES, DETAIL_SIZE, DETAIL_SIZE), 2.0).stored()
    with pytest.raises(StoreError, match="detail: 3 missing or unknown; fit the actor again"):
        Detail.of_stored({name: value for name, value in stored.items() if name != "3"})
    with pytest.raises(StoreError, match="cannot be read as pictures"):
        Detail.of_stored({**stored, "3": torch.zeros(40, dtype=torch.uint8)})
    for scale in (0.0, -2.0, 1.0, 1e30, float("nan"), float("inf"), [2.0, 2.0], []):
        with pytest.raises(StoreError, match="its scale is that of no footage"):
            Detail.of_stored({**stored, "scale": torch.tensor(scale)})
    empty, floats, bitmap = torch.zeros(0, dtype=torch.uint8), stored["3"].float(), torch.tensor([66, 77, 0, 0]).byte()
    for wrong in (empty, floats, bitmap, stored["3"][None], stored["3"][:20]):
        with pytest.raises(StoreError, match="cannot be read as pictures"):
            Detail.of_stored({**stored, "3": wrong})
    larger = torch.from_numpy(cv2.imencode(".jpg", np.zeros((2048, 2048), np.uint8))[1])
    for wrong in (larger, Detail(torch.zeros(1, BANK_FRAMES, 512, 512), 2.0).stored()["3"]):
        with pytest.raises(StoreError, match="pictures of 1024 px"):
            Detail.of_stored({**stored, "3": wrong})


def test_no_picture_is_decoded_that_says_it_is_enormous():
    stored = Detail(torch.zeros(1, BANK_FRAMES, DETAIL_SIZE, DETAIL_SIZE), 2.0).stored()
    data = bytes(stored["0"].tolist())
    frame = data.index(b"\xff\xc0") + 5
    started = time.process_time()
    for rows, columns in ((32000, 32000), (1024, 65500), (0, 0)):
        sides = rows.to_bytes(2) + columns.to_bytes(2)
        enormous = torch.tensor(list(data[:frame] + sides + data[frame + 4 :]), dtype=torch.uint8)
        with pytest.raises(StoreError, match="pictures of 1024 px"):
            Detail.of_stored({**stored, "7": enormous})
    assert time.process_time() - started < 2, "as long as a thousand million pixels would take"
