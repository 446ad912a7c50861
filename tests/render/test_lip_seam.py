"""Colours of one lip stay on it."""

import pytest
import torch

from cuda_ext import ops
from prior.face.model import load_face_model
from prior.face.points import LIPS_INNER
from render.drawing.gbuffer import TEXTURE_SIZE, gbuffer
from render.drawing.masks import pick_faces
from render.head.lip_seam import lip_seam

MODEL = load_face_model()
CORNER, OTHER_CORNER = LIPS_INNER[0], LIPS_INNER[10]
#: Side of the pictures: so many px that some lie at the very edge of a lip.
SIZE = 1024


def clip_vertices(opening: float) -> torch.Tensor:
    """The mean head [1, V, 4] from in front, as large in the picture as in a crop."""
    lower = torch.zeros(1, MODEL.lower_basis.shape[0])
    lower[:, 0] = opening
    vertices = MODEL.vertices(torch.zeros(MODEL.shape_basis.shape[0]), lower)
    centre = vertices[:, [CORNER, OTHER_CORNER]].mean(1, keepdim=True)
    return torch.cat([(vertices - centre) * torch.tensor([0.1, 0.1, -0.01]), torch.ones_like(vertices[..., :1])], -1)


def test_the_seam_runs_along_the_inner_lips():
    seam = MODEL.lip_seam
    assert seam is not None
    lower = list(LIPS_INNER[:11])
    upper = [LIPS_INNER[0], *LIPS_INNER[:9:-1]]
    for edge, points in zip(seam.edges, (upper, lower), strict=True):
        assert torch.allclose(torch.from_numpy(edge), MODEL.uv[points].double())


@pytest.mark.parametrize("opening", [3.0, 4.0])
@pytest.mark.parametrize("texels", [TEXTURE_SIZE, 1024])
def test_no_colour_of_one_lip_is_sampled_for_the_other(opening, texels):
    seam = MODEL.lip_seam
    flat = torch.stack([2 * MODEL.uv[:, 0] - 1, 1 - 2 * MODEL.uv[:, 1]], -1)
    at_uv = torch.cat([flat, torch.zeros_like(flat[:, :1]), torch.ones_like(flat[:, :1])], -1)
    of_texel = ops.rasterize(at_uv[None].contiguous(), MODEL.faces, (texels, texels)).face_id
    lips = torch.cat([pick_faces(chosen, of_texel) for chosen in (seam.upper, seam.lower)], 1)
    vertices = clip_vertices(opening)
    face_id = ops.rasterize(vertices, MODEL.faces, (SIZE, SIZE)).face_id
    sampled = ops.texture(lips.contiguous(), gbuffer(MODEL, vertices, SIZE, texels).uv, filter_mode="bilinear")
    loose = ops.texture(lips.contiguous(), free_uv(vertices), filter_mode="bilinear")
    # At the corners the two lips are one.
    x = torch.arange(SIZE)
    ends = (SIZE / 2 * (1 + vertices[0, [CORNER, OTHER_CORNER], 0])).tolist()
    between = (x > ends[0] + 12) & (x < ends[1] - 12)
    for own, other in ((seam.upper, 1), (seam.lower, 0)):
        here = (pick_faces(own, face_id)[0, 0] > 0) & between
        assert int(here.sum()) > 1000
        assert float(loose[0, other][here].max()) > 0.2
        assert float(sampled[0, other][here].max()) < 1e-4


def free_uv(vertices: torch.Tensor) -> torch.Tensor:
    """Of clip-space vertices, as the faces have it."""
    return ops.interpolate(MODEL.uv, ops.rasterize(vertices, MODEL.faces, (SIZE, SIZE)), MODEL.faces)


def test_samples_move_by_little_and_only_at_the_lips():
    vertices = clip_vertices(4.0)
    moved = (gbuffer(MODEL, vertices, SIZE).uv - free_uv(vertices)).abs() * TEXTURE_SIZE
    assert float(moved[..., 0].max()) == 0
    assert float(moved[..., 1].max()) < 1.6
    assert 0 < int((moved[..., 1] > 0).sum()) < 6000


def test_closed_lips_are_sampled_across_their_seam():
    vertices = clip_vertices(-1.0)
    assert torch.equal(gbuffer(MODEL, vertices, SIZE).uv, free_uv(vertices))
    turned = vertices[..., [1, 0, 2, 3]] * torch.tensor([1.0, -1.0, 1.0, 1.0])  # the head lies on its side
    assert torch.equal(gbuffer(MODEL, turned, SIZE).uv, free_uv(turned))


def test_lips_that_do_not_part_have_no_seam():
    faces = torch.tensor([[0, 1, 2], [2, 1, 3]], dtype=torch.int32)
    uv = torch.rand(4, 2)
    assert lip_seam(faces, uv, torch.zeros(2, dtype=torch.bool)) is None
    two = torch.tensor([[0, 1, 2], [3, 4, 5]], dtype=torch.int32)
    assert lip_seam(two, torch.rand(6, 2), torch.ones(2, dtype=torch.bool)) is None


def test_a_seam_that_does_not_run_along_u_is_none():
    lips = MODEL.faces_in("lips")
    assert lip_seam(MODEL.faces, MODEL.uv * torch.tensor([-1.0, 1.0]) + torch.tensor([1.0, 0.0]), lips) is not None
    assert lip_seam(MODEL.faces, MODEL.uv.flip(1), lips) is None, "it would be read by columns"


def test_a_mouth_whose_corners_are_seen_in_one_place_has_uv():
    vertices = clip_vertices(4.0)
    vertices[:, [CORNER, OTHER_CORNER], :2] = 0
    uv = gbuffer(MODEL, vertices, 256).uv
    assert bool(uv.isfinite().all()) and float(uv.max()) > 0.5
