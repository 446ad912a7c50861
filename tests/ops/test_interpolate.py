import pytest
import torch

from cuda_ext import ops, reference
from cuda_ext.bench import ellipsoid
from cuda_ext.types import Raster
from tests.ops.closeness import assert_close
from tests.ops.scenes import random_triangles


def test_hand_computed() -> None:
    clip = torch.tensor([[[-1, 1, 0, 1], [1, 1, 0, 1], [-1, -1, 0, 1]]], dtype=torch.float32)
    faces = torch.tensor([[0, 1, 2]], dtype=torch.int32)
    raster = ops.rasterize(clip, faces, (4, 4), derivatives=True)
    pixels = torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]])  # attributes: the corners' own place in px
    values = ops.interpolate(pixels, raster, faces)
    assert values[0, 0, 0].tolist() == [0.5, 0.5] and values[0, 1, 1].tolist() == [1.5, 1.5]
    assert values[0, 3, 3].tolist() == [0.0, 0.0]
    assert ops.attribute_derivatives(pixels, raster, faces)[0, 1, 1].tolist() == [1.0, 0.0, 0.0, 1.0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(40, 3), (1, 40, 1), (2, 40, 5)])
def test_equals_twin(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    clip, faces = random_triangles(5, dtype=dtype)
    raster = ops.rasterize(clip, faces, (30, 21), derivatives=True)
    generator = torch.Generator().manual_seed(1)
    attributes = torch.randn(shape, generator=generator, dtype=dtype)
    results = []
    for module in (ops, reference):
        values, weights = attributes.clone().requires_grad_(), raster.barycentrics.clone().requires_grad_()
        out = module.interpolate(values, raster._replace(barycentrics=weights), faces)
        (out * torch.linspace(-1, 1, out.numel(), dtype=dtype).view(out.shape)).sum().backward()
        covered = (raster.face_id >= 0)[..., None]
        slopes = module.attribute_derivatives(attributes, raster, faces)
        results.append([out, values.grad, weights.grad * covered, slopes])
    for ours, twin in zip(*results, strict=True):
        assert_close(ours, twin)


def test_faces_per_image_and_empty() -> None:
    clip, faces = random_triangles(2, dtype=torch.float64)
    lists = torch.stack([faces, faces.flip(0)]).contiguous()
    raster = ops.rasterize(clip, lists, (12, 13), derivatives=True)
    attributes = torch.randn(2, 40, 2, dtype=torch.float64)
    assert_close(ops.interpolate(attributes, raster, lists), reference.interpolate(attributes, raster, lists))
    slopes = ops.attribute_derivatives(attributes, raster, lists)
    assert_close(slopes, reference.attribute_derivatives(attributes, raster, lists))
    nothing = ops.rasterize(clip, faces[:0], (12, 13), derivatives=True)
    assert (ops.interpolate(attributes, nothing, faces[:0]) == 0).all()
    assert (ops.attribute_derivatives(attributes, nothing, faces[:0]) == 0).all()


def test_gradcheck_and_opcheck() -> None:
    clip, faces, uv = ellipsoid(3, 4)
    raster = ops.rasterize(clip.double(), faces, (5, 6))
    weights, attributes = raster.barycentrics.clone().requires_grad_(), uv.double().requires_grad_()

    def output(values: torch.Tensor, barycentrics: torch.Tensor) -> torch.Tensor:
        return ops.interpolate(values, raster._replace(barycentrics=barycentrics), faces)

    assert torch.autograd.gradcheck(output, (attributes, weights))
    arguments = (attributes[None].detach().requires_grad_(), raster.face_id, weights, faces, False)
    torch.library.opcheck(torch.ops.cuda_ext.interpolate, arguments)


def test_same_bytes_for_any_number_of_threads() -> None:
    clip, faces, uv = ellipsoid(20, 25, batch=2)
    raster = ops.rasterize(clip, faces, (100, 120))
    before, results = torch.get_num_threads(), []
    for threads in (1, 2, 2):
        torch.set_num_threads(threads)
        attributes, weights = uv.clone().requires_grad_(), raster.barycentrics.clone().requires_grad_()
        out = ops.interpolate(attributes, raster._replace(barycentrics=weights), faces)
        out.square().sum().backward()
        results.append([out, attributes.grad, weights.grad])
    torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_errors() -> None:
    clip, faces = random_triangles(0)
    raster = ops.rasterize(clip, faces, (8, 8))
    for attributes, text in [
        (torch.zeros(40), r"interpolate\(\): 'attributes' must be"),
        (torch.zeros(40, 2, dtype=torch.float64), "'attributes' must be torch.float32, got torch.float64"),
        (torch.zeros(3, 40, 2), "'attributes' has batch 3, the raster 2"),
        (torch.zeros(2, 40).T, "'attributes' must be contiguous"),
        (torch.zeros(39, 2), "'faces' must index the 39 vertices"),
        (torch.full((40, 2), torch.inf), "'attributes' holds a value that is not finite"),
        (torch.zeros(40, 2, device="meta"), "'attributes' is on meta"),
    ]:
        with pytest.raises(ValueError, match=text):
            ops.interpolate(attributes, raster, faces)
    with pytest.raises(ValueError, match="has no derivatives"):
        ops.attribute_derivatives(torch.zeros(40, 2), raster, faces)


@pytest.mark.cuda
@pytest.mark.parametrize("deterministic", [False, True])
def test_cuda_equals_cpu(deterministic: bool) -> None:
    clip, faces = random_triangles(5, dtype=torch.float64)
    results = []
    for device in ("cpu", "cuda"):
        raster = Raster(*(x.to(device) for x in ops.rasterize(clip, faces, (30, 21), derivatives=True)))
        weights = raster.barycentrics.requires_grad_()
        attributes = torch.linspace(-1, 1, 120, dtype=torch.float64, device=device).view(40, 3).requires_grad_()
        out = ops.interpolate(attributes, raster, faces.to(device), deterministic=deterministic)
        out.square().sum().backward()
        results.append([x.cpu() for x in (out, attributes.grad, weights.grad)])
    for ours, theirs in zip(*results, strict=True):
        assert_close(theirs, ours)
