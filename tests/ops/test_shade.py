import pytest
import torch

from cuda_ext import ops, reference
from cuda_ext.bench import ellipsoid
from cuda_ext.types import Shading, Surface
from tests.ops.closeness import assert_close
from tests.ops.scenes import random_triangles

FILTERS = ["nearest", "bilinear", "trilinear"]


def shade_inputs(dtype: torch.dtype, maps: int = 1, seed: int = 0) -> tuple[torch.Tensor, ...]:
    """Positions, faces, uv, a 16 x 8 feature map of 5 channels and labels 0 to 2 for every face."""
    clip, faces = random_triangles(seed, dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    uv = torch.rand(40, 2, generator=generator, dtype=torch.float64) * 1.4 - 0.2
    feature_map = torch.randn(maps, 5, 16, 8, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 3, (len(faces),), generator=generator).to(torch.uint8)
    return clip.to(dtype), faces, uv.to(dtype), feature_map.to(dtype), labels


def weigh(shading: Shading, calm: torch.Tensor) -> torch.Tensor:
    """A number that depends on every differentiable output, where the raster is calm [B, H, W]."""
    raster = shading.raster
    parts = (shading.features.permute(0, 2, 3, 1), raster.barycentrics, raster.depth[..., None])
    total = torch.zeros((), dtype=raster.depth.dtype)
    for part in parts:
        weight = torch.linspace(-1, 1, part.numel(), dtype=part.dtype).view(part.shape)
        total = total + (part * weight * calm[..., None]).sum()
    return total


def test_hand_computed() -> None:
    # Two rectangles side by side at uv (0.25, 0.25) and (0.75, 0.75), a third behind the first one is not seen.
    def rectangle(left: float, right: float, z: float) -> list[list[float]]:
        return [[left, 1, z, 1], [right, 1, z, 1], [right, -1, z, 1], [left, -1, z, 1]]

    clip = torch.tensor([rectangle(-1, 0, 0.1) + rectangle(0, 0.5, 0.1) + rectangle(-1, 0, 0.2)])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7], [8, 9, 10], [8, 10, 11]], dtype=torch.int32)
    uv = torch.tensor([[0.25, 0.25]] * 4 + [[0.75, 0.75]] * 4 + [[0.25, 0.75]] * 4)
    feature_map = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    shading = ops.shade(clip, faces, Surface(uv, feature_map), (2, 4))
    assert shading.features[0, 0, 0].tolist() == [1, 1, 4, 0] and shading.region[0, 0].tolist() == [1, 1, 1, 0]
    labels = torch.tensor([0, 0, 7, 7, 1, 1], dtype=torch.uint8)
    shading = ops.shade(clip, faces, Surface(uv, feature_map, labels), (2, 4))
    assert shading.features[0, 0, 0].tolist() == [0, 0, 4, 0] and shading.region[0, 0].tolist() == [0, 0, 7, 0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("filter_mode", FILTERS)
def test_equals_twin(dtype: torch.dtype, filter_mode: str) -> None:
    for seed in range(4):
        clip, faces, uv, feature_map, labels = shade_inputs(dtype, 1 + seed % 2, seed)
        slopes = ops.rasterize(clip, faces, (18, 21), derivatives=True)
        twin_id = reference.rasterize(clip, faces, (18, 21)).face_id
        assert slopes.derivatives is not None
        calm = (slopes.derivatives.abs().amax(-1) < 0.5) & (slopes.face_id == twin_id)
        results = []
        for module in (ops, reference):
            inputs = [x.clone().requires_grad_() for x in (clip, uv, feature_map)]
            surface = Surface(*inputs[1:], labels, filter_mode)
            out = module.shade(inputs[0], faces, surface, (18, 21))
            weigh(out, calm).backward()
            assert torch.equal(out.region[calm], results[0][1] if results else out.region[calm])
            gradients = [x.grad if x.grad is not None else torch.zeros_like(x) for x in inputs]
            results.append([out.features.permute(0, 2, 3, 1)[calm], out.region[calm], *gradients])
        for ours, twin in zip(*results, strict=True):
            # float32, measured 4e-4: uv near a texel's border is rounded to either side of it
            assert_close(ours.double(), twin, tolerance=5e-3 if dtype == torch.float32 else 1e-9)


@pytest.mark.parametrize("filter_mode", FILTERS)
def test_equals_composition_of_the_ops(filter_mode: str) -> None:
    clip, faces, uv = ellipsoid(10, 12, batch=2)
    feature_map = torch.randn(1, 16, 32, 32, generator=torch.Generator().manual_seed(0))
    labels = (torch.arange(len(faces)) % 3).to(torch.uint8)
    results = []
    for fused in (True, False):
        positions, vertex_uv, texels = (x.clone().requires_grad_() for x in (clip, uv, feature_map))
        if fused:
            shading = ops.shade(positions, faces, Surface(vertex_uv, texels, labels, filter_mode), (50, 60))
            features, raster = shading.features, shading.raster
        else:
            raster = ops.rasterize(positions, faces, (50, 60), derivatives=True)
            at = ops.interpolate(vertex_uv, raster, faces)
            at_da = ops.attribute_derivatives(vertex_uv, raster, faces)
            features = ops.texture(texels, at, at_da, filter_mode=filter_mode)
            drawn = (raster.face_id >= 0) & (labels[raster.face_id.clamp(min=0).long()] > 0)
            assert torch.equal(drawn, shading.region > 0)
            features = torch.where(drawn[:, None], features, 0)
        (features * torch.linspace(-1, 1, features.numel()).view(features.shape)).sum().backward()
        gradients = [torch.zeros_like(x) if x.grad is None else x.grad for x in (positions, vertex_uv, texels)]
        results.append([features, *raster[:3], *gradients])
    if filter_mode != "trilinear":
        assert all(torch.equal(a, b) for a, b in zip(results[0][:4], results[1][:4], strict=True))
    for ours, composed in zip(*results, strict=True):
        assert_close(ours, composed)


def test_mips_may_be_given() -> None:
    clip, faces, uv, feature_map, labels = shade_inputs(torch.float64)
    for module in (ops, reference):
        built = module.shade(clip, faces, Surface(uv, feature_map, labels, "trilinear"), (9, 8))
        mips = module.mip_stack(feature_map)
        given = module.shade(clip, faces, Surface(uv, feature_map, labels, "trilinear", mips=mips), (9, 8))
        assert torch.equal(given.features, built.features)
    others = Surface(uv, feature_map[..., :4], filter_mode="trilinear", mips=mips)
    with pytest.raises(ValueError, match="'mips' do not belong to 'feature_map'"):
        ops.shade(clip, faces, others, (9, 8))


def test_batch_of_feature_maps_and_empty() -> None:
    clip, faces, uv, feature_map, _ = shade_inputs(torch.float32, 2)
    both = ops.shade(clip, faces, Surface(uv, feature_map), (9, 8))
    for index in range(2):
        one = slice(index, index + 1)
        alone = ops.shade(clip[one].contiguous(), faces, Surface(uv, feature_map[one]), (9, 8))
        assert torch.equal(both.features[one], alone.features)
    nothing = ops.shade(clip, faces[:0], Surface(uv, feature_map), (9, 8))
    assert (nothing.features == 0).all() and (nothing.region == 0).all()
    assert ops.shade(clip[:0], faces, Surface(uv, feature_map[:1]), (9, 8)).features.shape == (0, 5, 9, 8)


def test_gradcheck_and_opcheck() -> None:
    clip, faces, uv = ellipsoid(3, 4)
    generator = torch.Generator().manual_seed(2)
    feature_map = torch.randn(1, 2, 4, 4, generator=generator, dtype=torch.float64)
    inputs = tuple(x.double().requires_grad_() for x in (clip, 0.9 * uv + 0.033, feature_map))

    def output(positions: torch.Tensor, vertex_uv: torch.Tensor, texels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        shading = ops.shade(positions, faces, Surface(vertex_uv, texels), (6, 8))
        return shading.features, shading.raster.barycentrics, shading.raster.depth

    assert torch.autograd.gradcheck(output, inputs)
    single = [x.detach().float().requires_grad_() for x in inputs]
    texels = single[2].detach().flatten(2).transpose(1, 2).contiguous().requires_grad_()
    region = torch.ones(len(faces), dtype=torch.uint8)
    arguments = (single[0], faces, single[1][None], region, texels, 6, 8, 4, 4, 1, 1, 1, False)
    torch.library.opcheck(torch.ops.cuda_ext.shade, arguments)


def test_same_bytes_for_any_number_of_threads() -> None:
    clip, faces, uv = ellipsoid(20, 25, batch=2)
    feature_map = torch.randn(1, 16, 64, 64, generator=torch.Generator().manual_seed(0))
    before, results = torch.get_num_threads(), []
    for threads in (1, 2, 2):
        torch.set_num_threads(threads)
        inputs = [x.clone().requires_grad_() for x in (clip, uv, feature_map)]
        shading = ops.shade(inputs[0], faces, Surface(*inputs[1:]), (100, 90))
        shading.features.square().sum().backward()
        results.append([shading.features, shading.region, *(x.grad for x in inputs)])
    torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_errors() -> None:
    clip, faces, uv, feature_map, labels = shade_inputs(torch.float32)
    for positions, face_list, surface, size, text in [
        (clip, faces.long(), Surface(uv, feature_map), (8, 8), r"shade\(\): 'faces' must be int32"),
        (clip, faces, Surface(uv[:-1], feature_map), (8, 8), r"'vertex_uv' must be \[\*, 40, 2\]"),
        (clip, faces, Surface(uv.double(), feature_map), (8, 8), "'vertex_uv' must be torch.float32"),
        (clip, faces, Surface(uv, feature_map.double()), (8, 8), "'feature_map' must be torch.float32"),
        (clip, faces, Surface(uv, feature_map[0]), (8, 8), "'feature_map' must be float32 or float64"),
        (clip, faces, Surface(uv, feature_map.repeat(3, 1, 1, 1)), (8, 8), "'feature_map' has batch 3"),
        (clip, faces, Surface(uv, feature_map, face_region=labels[1:]), (8, 8), r"'face_region' must be uint8 \[44\]"),
        (clip, faces, Surface(uv, feature_map, face_region=labels.int()), (8, 8), r"'face_region' must be uint8"),
        (clip, faces, Surface(uv, feature_map, face_region=[1]), (8, 8), r"'face_region' must be uint8"),
        (clip, faces, Surface(uv, feature_map, filter_mode="cubic"), (8, 8), "'filter_mode' must be one of"),
        (clip, faces, Surface(uv, feature_map), (8, 20000), "'resolution' must be 1 to 16384"),
        (clip * torch.inf, faces, Surface(uv, feature_map), (8, 8), "not finite"),
        (clip, faces + 1, Surface(uv, feature_map), (8, 8), "must index the 40 vertices"),
        (clip, faces, Surface(uv, feature_map.to("meta")), (8, 8), "'feature_map' is on meta"),
    ]:
        with pytest.raises(ValueError, match=text):
            ops.shade(positions, face_list, surface, size)


@pytest.mark.cuda
@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("filter_mode", FILTERS)
def test_cuda_equals_cpu(filter_mode: str, deterministic: bool) -> None:
    clip, faces, uv = ellipsoid(10, 12, batch=2)
    feature_map = torch.randn(1, 16, 32, 32, generator=torch.Generator().manual_seed(0))
    results = []
    for device in ("cpu", "cuda"):
        inputs = [x.double().to(device).requires_grad_() for x in (clip, uv, feature_map)]
        surface = Surface(*inputs[1:], filter_mode=filter_mode)
        out = ops.shade(inputs[0], faces.to(device), surface, (50, 60), deterministic=deterministic)
        (out.features.square().sum() + out.raster.barycentrics.sum() + out.raster.depth.sum()).backward()
        gradients = [torch.zeros_like(x) if x.grad is None else x.grad for x in inputs]
        results.append([x.cpu() for x in (out.features, out.region, *out.raster[:3], *gradients)])
    assert torch.equal(results[0][1], results[1][1]) and torch.equal(results[0][2], results[1][2])
    for ours, theirs in zip(*results, strict=True):
        assert_close(theirs.double(), ours, tolerance=1e-8)
