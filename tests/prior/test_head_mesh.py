"""The two sheets inside the mouth of the shipped head: their texels, which one is in front, what is seen of them."""

import torch

from cuda_ext import ops
from prior.face.model import load_face_model
from prior.face.points import opening
from prior.renderer.unwrapping import BORDER_WEIGHT, unwrap
from render.drawing.masks import pick_faces

MODEL = load_face_model()
COLUMNS = 13
#: Heights around the closed lips' line at which teeth are seen, cm.
TEETH_CM = (-0.6, 0.3)


def sheet_rows(region: str) -> torch.Tensor:
    """Vertices of a sheet's grid [rows, COLUMNS], top row first."""
    rows = MODEL.faces[MODEL.faces_in(region)].flatten().long().unique()
    return rows.reshape(-1, COLUMNS)


def test_teeth_get_as_many_texels_down_as_across():
    line = float(MODEL.mean[[13, 14], 1].mean())
    for region in ("mouth_upper", "mouth_lower"):
        rows = sheet_rows(region)
        middle = rows[:, COLUMNS // 2]
        height, down = MODEL.mean[middle, 1] - line, MODEL.uv[middle, 1]
        across = (MODEL.uv[rows[0], 0].max() - MODEL.uv[rows[0], 0].min()) / (
            MODEL.mean[rows[0], 0].max() - MODEL.mean[rows[0], 0].min()
        )
        for above, below in zip(range(len(middle) - 1), range(1, len(middle)), strict=True):
            if TEETH_CM[0] <= height[below] < height[above] <= TEETH_CM[1] + 0.15:
                per_cm = (down[below] - down[above]) / (height[above] - height[below])
                assert 0.6 < float(per_cm / across) < 1.7, (region, float(height[above]))


def test_lower_teeth_are_on_the_lower_sheet_as_soon_as_they_are_apart_from_the_upper_ones():
    line = float(MODEL.mean[[13, 14], 1].mean())
    lower = MODEL.lower_basis.new_zeros(2, MODEL.lower_basis.shape[0])
    lower[1, 0] = 1.0
    if float(opening(MODEL.vertices(torch.zeros(MODEL.shape_basis.shape[0]), lower))[1]) < 0:
        lower[1, 0] = -1.0
    closed, open_ = MODEL.vertices(torch.zeros(MODEL.shape_basis.shape[0]), lower)
    upper, jaw = sheet_rows("mouth_upper"), sheet_rows("mouth_lower")
    middle = COLUMNS // 2
    assert torch.equal(closed[upper], open_[upper]), "upper teeth stay where the skull is"
    # Below the upper teeth's plane the upper sheet is behind the lower one.
    beyond = closed[upper[:, middle], 1] < line - 0.5
    edge = int(closed[jaw[:, middle], 2].argmax())
    assert float(closed[upper[beyond, middle], 2].max()) < float(open_[jaw[edge, middle], 2])
    # Bitten together lower teeth reach up behind the upper ones; open they are lower by what the jaw moves.
    top = closed[jaw[1, middle], 1] - line
    assert 0.2 < float(top) < 0.4 and float(open_[jaw[1, middle], 1]) < float(closed[jaw[1, middle], 1])
    assert float(closed[jaw[1, middle], 2]) < float(closed[upper[2, middle], 2]), "behind them"


def test_what_borders_on_the_lips_hardly_counts_and_carries_no_lip_to_other_mouths(talking_clip):
    track = talking_clip[1].with_crop_size(256)
    openings = track.lower_expression[:, 0]
    vertices = track.clip_vertices(MODEL, openings.argmax()[None])
    inside = pick_faces(MODEL.faces_in("mouth_upper", "mouth_lower"), gbuffer_faces(vertices))
    assert float(inside.sum()) > 100, "an open mouth"
    white_lips = (1 - inside).expand(-1, 3, -1, -1)
    rgb, weight = unwrap(MODEL, vertices, white_lips)
    sheets = pick_faces(MODEL.faces_in("mouth_upper", "mouth_lower"), gbuffer_faces(flat_vertices(), weight.shape[-1]))
    seen = (weight > BORDER_WEIGHT) & (sheets > 0)
    assert int(seen.sum()) > 50 and float(rgb.mean(1, keepdim=True)[seen].max()) == 0, "no lip on what counts"
    border = (weight > 0) & (weight <= BORDER_WEIGHT) & (sheets > 0)
    assert float(rgb.mean(1, keepdim=True)[border].max()) > 0.3, "there is some at the border"


def gbuffer_faces(vertices: torch.Tensor, size: int = 256) -> torch.Tensor:
    """Faces that are seen [1, size, size]."""
    return ops.rasterize(vertices, MODEL.faces, (size, size)).face_id


def flat_vertices() -> torch.Tensor:
    """The head laid out over uv, in clip space [1, V, 4]."""
    flat = torch.stack([2 * MODEL.uv[:, 0] - 1, 1 - 2 * MODEL.uv[:, 1]], -1)
    return torch.cat([flat, torch.zeros_like(flat[:, :1]), torch.ones_like(flat[:, :1])], -1)[None]
