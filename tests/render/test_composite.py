from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from render.compositing.composite import (
    Grain,
    Patch,
    changed_outside,
    composite,
    match_tone,
    measure_grain,
    plane_steps,
)
from render.video.encoding import Encoding
from render.video.planes import plane_views
from render.video.reader import Footage
from render.video.writer import VideoWriter
from tests.media import Sound, make_clip

SIZE = 96  # crop, px
# Similarity from upright image to crop: turned a little, enlarged, off the pixel grid; and the plain one.
TURNED = (1.3, 0.12, (88.3, 61.7))
PLAIN = (1.0, 0.0, (88.0, 62.0))
KINDS: dict[str, dict] = {
    "23.976": {"rate": Fraction(24000, 1001), "sounds": [Sound()]},
    "29.97": {"rate": Fraction(30000, 1001)},
    "variable": {"times": [0, 3, 4, 9, 20], "time_base": Fraction(1, 90)},
    "rotated 90": {"rotation": 90},
    "rotated 180": {"rotation": 180},
    "rotated 270": {"rotation": 270},
    "10 bit": {"pix_fmt": "yuv420p10le"},
    "4:2:2": {"pix_fmt": "yuv422p"},
    "4:4:4": {"pix_fmt": "yuv444p"},
    "full range": {"pix_fmt": "yuvj420p", "context": {"color_range": 2}},
    "odd size": {"size": (161, 121), "codec": "ffv1", "suffix": ".mkv"},
    "rgb": {"codec": "ffv1", "pix_fmt": "bgr0", "suffix": ".mkv"},
    "gray": {"codec": "ffv1", "pix_fmt": "gray", "suffix": ".mkv"},
}


def footage_of(kind: str, folder: Path, **more: object) -> Footage:
    settings = {"frames": 5, **KINDS.get(kind, {}), **more}
    return Footage(make_clip(folder / f"source{settings.pop('suffix', '.mp4')}", **settings))


def similarity(scale: float, turn: float, centre: tuple[float, float]) -> np.ndarray:
    linear = scale * np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    return np.hstack([linear, (SIZE / 2 - linear @ centre)[:, None]])


def crop_of(rgb: np.ndarray, crop_from_image: np.ndarray) -> np.ndarray:
    linear, shift = crop_from_image[:, :2], crop_from_image[:, 2]
    by_index = np.hstack([linear, (shift + linear @ [0.5, 0.5] - 0.5)[:, None]])
    picture = rgb.astype(np.float32) / 255
    crop = cv2.warpAffine(picture, by_index, (SIZE, SIZE), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.clip(crop, 0, 1)


def disc(radius: float = 34.0, feather: float = 6.0) -> np.ndarray:
    y, x = np.mgrid[0:SIZE, 0:SIZE] + 0.5 - SIZE / 2
    return np.clip((radius - np.hypot(x, y)) / feather, 0, 1).astype(np.float32)


def coverage(footage: Footage, patch: Patch) -> np.ndarray:
    """The matte over every luma sample of the coded picture, by definition: each pixel centre looked up in the crop."""
    y, x = np.mgrid[0 : footage.height, 0 : footage.width] + 0.5
    at = np.einsum("ij,jhw->ihw", patch.crop_from_image, np.stack([x, y, np.ones_like(x)])).astype(np.float32) - 0.5
    upright = cv2.remap(patch.matte, at[0], at[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    return footage.orientation.coded(upright)


@pytest.mark.parametrize("kind", KINDS)
def test_outside_the_matte_nothing_changes(kind: str, tmp_path: Path) -> None:
    """Through the file: source → composite → FFV1 in mp4 → samples outside the matte are those of the source."""
    footage = footage_of(kind, tmp_path)
    matrix = similarity(*TURNED)
    red = np.zeros((SIZE, SIZE, 3), np.float32)
    red[:] = (0.9, 0.2, 0.1)
    patch = Patch(red, disc(), matrix)
    with VideoWriter(footage, tmp_path / "out.mp4", Encoding("ffv1")) as writer:
        for frame in footage.frames():
            writer.write(frame, composite(footage, frame.planes, patch))
    result = Footage(tmp_path / "out.mp4")
    assert [f.time for f in result.frames()] == [f.time for f in footage.frames()]
    covered = coverage(footage, patch)
    for before, after in zip(footage.frames(), result.frames(), strict=True):
        for number, step in enumerate(plane_steps(footage.pix_fmt)):
            old, new = before.planes[number], after.planes[number]
            near = cell_maximum(covered, step)
            # 0.02: the two ways of looking up a matte differ by the 1/32 px grid of OpenCV's warp.
            np.testing.assert_array_equal(old[near < 1 / 512 - 0.002], new[near < 1 / 512 - 0.002])
            assert (old != new)[near > 0.5].mean() > 0.9
        assert changed_outside(footage, before.planes, after.planes, [patch]) == 0
        # Away from the border, where a viewer's chroma interpolation mixes in the source's.
        deep = cv2.erode((covered > 0.99).astype(np.uint8), np.ones((9, 9), np.uint8))
        shown = after.rgb[footage.orientation.upright(deep) > 0]
        wanted = np.full(3, 255 * red[0, 0] @ [0.299, 0.587, 0.114]) if kind == "gray" else 255 * red[0, 0]
        assert np.abs(shown - wanted).max() <= 4


def cell_maximum(covered: np.ndarray, step: tuple[int, int]) -> np.ndarray:
    height, width = covered.shape
    padded = np.pad(covered, ((0, -height % step[1]), (0, -width % step[0])))
    return padded.reshape(padded.shape[0] // step[1], step[1], -1, step[0]).max(axis=(1, 3))


@pytest.mark.parametrize(
    "kind", ["29.97", "rotated 90", "rotated 270", "4:2:2", "4:4:4", "10 bit", "full range", "rgb"]
)
def test_own_crop_comes_back(kind: str, tmp_path: Path) -> None:
    """A crop at the source's own scale, put back where it was, changes nothing but roundings."""
    footage = footage_of(kind, tmp_path, frames=1)
    frame = next(footage.frames())
    patch = Patch(crop_of(frame.rgb, similarity(*PLAIN)), disc(), similarity(*PLAIN))
    unit = 1 << (footage.bit_depth - 8)
    for old, new in zip(frame.planes, composite(footage, frame.planes, patch), strict=True):
        difference = (new.astype(float) - old) / unit
        assert np.abs(difference).max() <= 2 and (np.abs(difference) > 1).mean() < 0.001
        assert np.sqrt((difference**2).mean()) < 0.2 and abs(difference.mean()) < 0.02


SITINGS = ["left", "center", "topleft", "top", "bottomleft", "bottom"]


@pytest.mark.parametrize("location", SITINGS)
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p10le"])
def test_a_hard_red_edge_comes_back(pix_fmt: str, location: str, tmp_path: Path) -> None:
    """What was read, put back with a full matte, is what was there: red beside grey, across and down."""
    options = {"preset": "ultrafast", "qp": "1", "chroma_sample_location": location}
    footage = Footage(make_clip(tmp_path / "edge.mp4", 1, (64, 64), pix_fmt=pix_fmt, options=options))
    frame = next(footage.frames())
    if pix_fmt.startswith("yuv420p"):
        assert footage.siting.location == location
    unit = 1 << (footage.bit_depth - 8)
    views = plane_views(frame.picture)
    for view, grey, red in zip(views, (120, 128, 128), (90, 115, 190), strict=True):
        view[:] = grey * unit
        rows, columns = (3 * view.shape[0] // 8, 5 * view.shape[1] // 8)
        view[:rows, :columns] = red * unit
    patch = Patch(frame.rgb.astype(np.float32) / 255, np.ones((64, 64), np.float32), np.eye(3)[:2])
    for old, new in zip(frame.planes, composite(footage, frame.planes, patch), strict=True):
        assert np.abs(new.astype(int) - old).max() <= unit


def test_a_dull_matte_leaves_what_was_read_where_it_was(tmp_path: Path) -> None:
    """Half a matte over an edge: as much of it as of the source, in the same place."""
    footage = footage_of("", tmp_path, frames=1)
    frame = next(footage.frames())
    views = plane_views(frame.picture)
    for view, left, right in zip(views, (90, 115, 190), (120, 128, 128), strict=True):
        view[:], view[:, : view.shape[1] // 2] = right, left
    ramp = np.tile(np.linspace(0, 1, 160, dtype=np.float32), (120, 1))
    patch = Patch(frame.rgb.astype(np.float32) / 255, ramp, np.eye(3)[:2])
    for old, new in zip(frame.planes, composite(footage, frame.planes, patch), strict=True):
        assert np.abs(new.astype(int) - old).max() <= 1


def test_enlarged_and_reduced_crops_keep_their_place(tmp_path: Path) -> None:
    footage = footage_of("4:4:4", tmp_path, frames=1)
    frame = next(footage.frames())
    for scale, limit in ((2.0, 6.0), (1.3, 6.0), (0.6, 8.0)):
        smooth = cv2.GaussianBlur(frame.rgb, (0, 0), 2.0)
        matrix = similarity(scale, 0.3, (80.2, 60.4))
        patch = Patch(crop_of(smooth, matrix), disc(30), matrix)
        new = composite(footage, frame.planes, patch)
        inside = coverage(footage, patch) > 0.999
        wanted = cv2.cvtColor(smooth, cv2.COLOR_RGB2YUV)[..., 0]  # full range BT.601
        error = (new[0][inside].astype(float) - 16) * 255 / 219 - wanted[inside]
        assert abs(error.mean()) < 0.3 and np.abs(error).max() < limit


def test_beyond_the_picture_and_empty(tmp_path: Path) -> None:
    footage = footage_of("odd size", tmp_path, frames=1)
    planes = next(footage.frames()).planes
    white = np.ones((SIZE, SIZE, 3), np.float32)
    empty = composite(footage, planes, Patch(white, np.zeros((SIZE, SIZE), np.float32), similarity(*TURNED)))
    faint = composite(footage, planes, Patch(white, np.full((SIZE, SIZE), 1 / 600, np.float32), similarity(*TURNED)))
    away = composite(footage, planes, Patch(white, disc(), similarity(1, 0, (900, 900))))
    for result in (empty, faint, away):
        assert all(np.array_equal(a, b) for a, b in zip(planes, result, strict=True))
    for centre in ((0, 0), (161, 121), (160, 3)):
        patch = Patch(white, np.ones((SIZE, SIZE), np.float32), similarity(1, 0.2, centre))
        result = composite(footage, planes, patch)
        assert changed_outside(footage, planes, result, [patch]) == 0
        x, y = min(centre[0], 160), min(centre[1], 120)
        assert result[0][y, x] == 235 and result[1][y // 2, x // 2] == 128


def test_changes_outside_are_counted(tmp_path: Path) -> None:
    footage = footage_of("29.97", tmp_path, frames=1)
    planes = next(footage.frames()).planes
    patch = Patch(np.ones((SIZE, SIZE, 3), np.float32), disc(), similarity(*TURNED))
    result = composite(footage, planes, patch)
    assert changed_outside(footage, planes, result, []) > 1000
    result[0][0, 0] ^= 1
    result[2][-1, -1] ^= 1
    assert changed_outside(footage, planes, result, [patch]) == 2


def test_border_takes_the_tone_of_the_source() -> None:
    rng = np.random.default_rng(0)
    source = cv2.GaussianBlur(rng.random((SIZE, SIZE, 3), dtype=np.float32), (0, 0), 2) * 0.6 + 0.2
    tinted = np.clip(source + np.array([0.06, -0.03, 0.02], np.float32), 0, 1)
    matched = match_tone(tinted, source, disc())
    inside = disc() > 0
    assert np.abs(matched - source)[inside].max() < 0.005 < np.abs(tinted - source)[inside].min()
    detailed = tinted + 0.01 * (rng.random(tinted.shape, dtype=np.float32) - 0.5)
    detail = match_tone(detailed, source, disc()) - matched
    assert np.corrcoef(detail[inside].ravel(), (detailed - tinted)[inside].ravel())[0, 1] > 0.99
    other = source.copy()
    other[:, : SIZE // 2] = 1.0  # a hand, say: too far away to be a matter of tone
    assert np.abs(match_tone(tinted, other, disc()) - source)[inside].mean() < 0.02
    # A face in shadow: more than a matter of tone at the border, not so on skin.
    shaded = np.clip(source - 0.2, 0, 1)
    skin = np.where(inside[..., None], shaded, np.nan)
    assert np.abs(match_tone(source, shaded, disc()) - shaded)[inside].mean() > 0.15
    assert np.abs(match_tone(source, shaded, disc(), skin) - shaded)[inside].mean() < 0.02


def test_grain_is_that_of_the_surroundings(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    flat = np.full((240, 320, 3), 120.0) + rng.normal(0, 4, (240, 320, 1))
    pictures = [np.clip(flat, 0, 255).astype(np.uint8)]
    footage = footage_of("", tmp_path, pictures=pictures, codec="ffv1", suffix=".mkv")
    planes = next(footage.frames()).planes
    patch = Patch(np.full((SIZE, SIZE, 3), 120 / 255, np.float32), disc(44, 2), similarity(1, 0, (160, 120)))
    grain = measure_grain(footage, planes, patch)
    assert grain is not None and 2.0 < grain.deviation < 4.5
    plain = composite(footage, planes, patch)
    grained = composite(footage, planes, patch, grain, seed=(7, 3))
    window = (slice(100, 140), slice(140, 180))
    assert plain[0][window].std() < 0.5
    assert grained[0][window].std() == pytest.approx(planes[0][window].std(), rel=0.2)
    again, other = composite(footage, planes, patch, grain, (7, 3)), composite(footage, planes, patch, grain, (7, 4))
    assert np.array_equal(grained[0], again[0]) and not np.array_equal(grained[0], other[0])
    assert changed_outside(footage, planes, grained, [patch]) == 0
    quiet = composite(footage, planes, patch, Grain(0.2, 0.0), (7, 3))
    assert np.array_equal(quiet[0], plain[0])


def test_samples_stay_within_their_depth(tmp_path: Path) -> None:
    footage = footage_of("10 bit", tmp_path, frames=1, context={"color_range": 2})
    planes = next(footage.frames()).planes
    patch = Patch(np.ones((SIZE, SIZE, 3), np.float32), disc(), similarity(*TURNED))
    result = composite(footage, planes, patch, Grain(30.0, 0.0), (1, 0))
    assert max(plane.max() for plane in result) == 1023 and changed_outside(footage, planes, result, [patch]) == 0
