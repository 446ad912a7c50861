import pytest
import torch

from cuda_ext import ops, reference
from tests.ops.closeness import assert_close

MODES = [(f, b) for f in ("nearest", "bilinear", "trilinear") for b in ("clamp", "wrap")]


def sample_inputs(dtype: torch.dtype, maps: int = 1, seed: int = 0) -> tuple[torch.Tensor, ...]:
    """A 12 x 16 feature map of 5 channels, uv inside and outside it, footprints from half a texel to the whole map."""
    generator = torch.Generator().manual_seed(seed)
    feature_map = torch.randn(maps, 5, 12, 16, generator=generator, dtype=torch.float64)
    uv = torch.rand(2, 7, 9, 2, generator=generator, dtype=torch.float64) * 3 - 1
    uv_da = torch.randn(2, 7, 9, 4, generator=generator, dtype=torch.float64) * 0.2
    return feature_map.to(dtype), uv.to(dtype), uv_da.to(dtype)


def test_hand_computed() -> None:
    feature_map = torch.tensor([[[[0.0, 1.0], [2.0, 3.0]]]])
    uv = torch.tensor([[[[0.25, 0.25], [0.5, 0.25], [0.5, 0.5], [0.0, 0.0], [1.2, 0.3]]]])
    assert ops.texture(feature_map, uv).flatten().tolist() == [0.0, 0.5, 1.5, 0.0, pytest.approx(1.2)]
    assert ops.texture(feature_map, uv, filter_mode="nearest").flatten().tolist() == [0.0, 1.0, 3.0, 0.0, 1.0]
    wrapped = ops.texture(feature_map, uv, boundary_mode="wrap").flatten().tolist()
    assert wrapped == [0.0, 0.5, 1.5, 1.5, pytest.approx(0.3)]  # u 1.2 is u 0.2: 0.9 of column 0, 0.1 of column 1
    mips = ops.mip_stack(feature_map)
    assert mips.levels == 2 and mips.texels.flatten().tolist() == [0.0, 1.0, 2.0, 3.0, 1.5]
    two_texels = torch.tensor([1.0, 0.0, 0.0, 0.5]).expand(1, 1, 5, 4).contiguous()  # 2 x 1 texels: level 1
    assert (ops.texture(feature_map, uv, two_texels, filter_mode="trilinear", mips=mips) == 1.5).all()


def test_coordinates_without_bounds() -> None:
    feature_map, uv, uv_da = sample_inputs(torch.float32)
    uv[0, 0, :4, 0] = torch.tensor([torch.nan, torch.inf, -torch.inf, 1e30])
    uv_da[0, 1, :2, 0] = torch.tensor([torch.nan, torch.inf])
    for filter_mode, boundary_mode in MODES:
        out = ops.texture(feature_map, uv, uv_da, filter_mode=filter_mode, boundary_mode=boundary_mode)
        assert out[1].isfinite().all()  # no crash, and the rest is untouched


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("filter_mode", "boundary_mode"), MODES)
@pytest.mark.parametrize("maps", [1, 2])
def test_equals_twin(dtype: torch.dtype, filter_mode: str, boundary_mode: str, maps: int) -> None:
    feature_map, uv, uv_da = sample_inputs(dtype, maps)
    results = []
    for module in (ops, reference):
        texels, coordinates = feature_map.clone().requires_grad_(), uv.clone().requires_grad_()
        modes = {"filter_mode": filter_mode, "boundary_mode": boundary_mode}
        out = module.texture(texels, coordinates, uv_da, **modes)
        (out * torch.linspace(-1, 1, out.numel(), dtype=dtype).view(out.shape)).sum().backward()
        results.append([out, texels.grad, coordinates.grad])
    for ours, twin in zip(*results, strict=True):
        assert_close(ours, twin)
    assert results[0][0].is_contiguous(memory_format=torch.channels_last)


def test_mip_stack_equals_twin_and_is_checked() -> None:
    feature_map, uv, uv_da = sample_inputs(torch.float64)
    ours, twin = ops.mip_stack(feature_map), reference.mip_stack(feature_map)
    assert (ours.levels, ours.height, ours.width) == (twin.levels, twin.height, twin.width) == (3, 12, 16)
    assert_close(ours.texels, twin.texels)
    given = ops.texture(feature_map, uv, uv_da, filter_mode="trilinear", mips=ours)
    assert torch.equal(given, ops.texture(feature_map, uv, uv_da, filter_mode="trilinear"))


@pytest.mark.parametrize(("filter_mode", "boundary_mode"), MODES)
def test_gradcheck_and_opcheck(filter_mode: str, boundary_mode: str) -> None:
    feature_map, uv, uv_da = sample_inputs(torch.float64, seed=3)
    feature_map, uv, uv_da = feature_map[:, :2, :4, :6], uv[:, :2, :3].contiguous(), uv_da[:, :2, :3].contiguous()

    def output(texels: torch.Tensor, coordinates: torch.Tensor) -> torch.Tensor:
        return ops.texture(texels, coordinates, uv_da, filter_mode=filter_mode, boundary_mode=boundary_mode)

    assert torch.autograd.gradcheck(output, (feature_map.requires_grad_(), uv.requires_grad_()))
    if filter_mode == "trilinear" and boundary_mode == "clamp":
        mips = ops.mip_stack(feature_map.detach())
        arguments = (mips.texels.requires_grad_(), uv, uv_da, 4, 6, 2, 2, 1, False)
        torch.library.opcheck(torch.ops.cuda_ext.texture, arguments)


def test_same_bytes_for_any_number_of_threads() -> None:
    generator = torch.Generator().manual_seed(0)
    feature_map = torch.randn(1, 16, 64, 64, generator=generator)
    uv = torch.rand(2, 80, 90, 2, generator=generator)
    before, results = torch.get_num_threads(), []
    for threads in (1, 2, 2):
        torch.set_num_threads(threads)
        texels, coordinates = feature_map.clone().requires_grad_(), uv.clone().requires_grad_()
        out = ops.texture(texels, coordinates)
        out.square().sum().backward()
        results.append([out, texels.grad, coordinates.grad])
    torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_errors() -> None:
    feature_map, uv, uv_da = sample_inputs(torch.float32)
    for arguments, options, text in [
        ((feature_map[0], uv), {}, r"texture\(\): 'feature_map' must be float32 or float64 \[B or 1, C, H, W\]"),
        ((feature_map.half(), uv), {}, "'feature_map' must be float32 or float64"),
        ((feature_map[:, :, :0], uv), {}, "'feature_map' must not be empty"),
        ((feature_map.repeat(3, 1, 1, 1), uv), {}, "'feature_map' has batch 3, 'uv' 2"),
        ((feature_map, uv.double()), {}, "'uv' must be torch.float32"),
        ((feature_map, uv[..., :1]), {}, r"'uv' must be \[\*, \*, \*, 2\]"),
        ((feature_map, uv.transpose(1, 2)), {}, "'uv' must be contiguous"),
        ((feature_map, uv.to("meta")), {}, "'uv' is on meta, expected cpu"),
        ((feature_map, uv), {"filter_mode": "linear"}, "'filter_mode' must be one of"),
        ((feature_map, uv), {"boundary_mode": "zero"}, "'boundary_mode' must be one of"),
        ((feature_map, uv), {"filter_mode": "trilinear"}, "'trilinear' needs 'uv_da'"),
        ((feature_map, uv, uv_da[:1]), {"filter_mode": "trilinear"}, r"'uv_da' must be \[2, 7, 9, 4\]"),
        (
            (feature_map, uv, uv_da),
            {"filter_mode": "trilinear", "mips": ops.mip_stack(feature_map[..., :8])},
            "'mips' do not belong to 'feature_map'",
        ),
    ]:
        with pytest.raises(ValueError, match=text):
            ops.texture(*arguments, **options)


@pytest.mark.cuda
@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize(("filter_mode", "boundary_mode"), MODES)
def test_cuda_equals_cpu(filter_mode: str, boundary_mode: str, deterministic: bool) -> None:
    results = []
    for device in ("cpu", "cuda"):
        feature_map, uv, uv_da = (x.to(device) for x in sample_inputs(torch.float64))
        out = ops.texture(
            feature_map.requires_grad_(),
            uv.requires_grad_(),
            uv_da,
            filter_mode=filter_mode,
            boundary_mode=boundary_mode,
            deterministic=deterministic,
        )
        out.square().sum().backward()
        results.append([x.cpu() for x in (out, feature_map.grad, uv.grad)])
    for ours, theirs in zip(*results, strict=True):
        assert_close(theirs, ours)


@pytest.mark.cuda
def test_cuda_half() -> None:
    feature_map, uv, uv_da = (x.cuda() for x in sample_inputs(torch.float32))
    half = feature_map.half().requires_grad_()
    out = ops.texture(half, uv, uv_da, filter_mode="trilinear")
    out.float().square().sum().backward()
    twin = feature_map.half().float().requires_grad_()
    expected = reference.texture(twin, uv, uv_da, filter_mode="trilinear")
    expected.square().sum().backward()
    assert half.grad is not None and twin.grad is not None
    assert_close(out, expected)
    assert_close(half.grad, twin.grad, tolerance=1e-2)  # sums in half
