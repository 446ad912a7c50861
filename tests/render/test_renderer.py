"""G-buffer, masks, texture sampling, network and renderer on the synthetic actor."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from adapt.tracking.crop import read_crops
from prior.face.model import load_face_model
from prior.renderer.prior import RendererPrior, extreme_expressions
from prior.renderer.unwrapping import choose_bins, enrollment_of, unwrap
from render.drawing.erasure import ERASED_MARGIN_PX, erased_mask, fill_erased
from render.drawing.frame_weights import QUERY, BankChoice
from render.drawing.gbuffer import gbuffer
from render.drawing.look import BANK_FRAMES, Bank, Look
from render.drawing.masks import dilate, put_back_mask
from render.drawing.neural_texture import COLOUR_BINS, COLOUR_CHANNELS, TEXTURE_CHANNELS, sample_texture
from render.drawing.renderer import (
    FIXED_BATCH,
    Renderer,
    RenderInputs,
    _visible,
    draw,
    draw_trainable,
    expression_window,
    fast_renderer,
    log_source_scale,
    render_inputs,
    seen_corners,
    seen_size,
)
from render.drawing.unet import UNet
from render.errors import StoreError
from render.head.track import Track
from render.video.reader import Footage

MODEL = load_face_model()


@pytest.fixture(scope="module")
def scene(talking_clip: tuple[Path, Track]) -> tuple[Track, torch.Tensor, torch.Tensor]:
    """A track with 256 px crops, ten of its frames, and their crops in [0, 1]."""
    path, track = talking_clip
    track = track.with_crop_size(256)
    frames = torch.arange(0, 40, 4)
    return track, frames, read_crops(Footage(path), track, frames.tolist()).float() / 255


@pytest.fixture(scope="module")
def prior(scene: tuple[Track, torch.Tensor, torch.Tensor]) -> RendererPrior:
    """An untrained prior of small networks; its head is not zero, so that everything it reads shows."""
    torch.manual_seed(0)
    prior = RendererPrior(MODEL, {"widths": [8, 8, 16]})
    torch.nn.init.normal_(prior.renderer.unet.head.weight, std=0.05)
    lower = scene[0].lower_expression
    prior.renderer.expression_mean.copy_(lower.mean(0))
    prior.erasing_expressions.copy_(extreme_expressions(MODEL, lower))
    torch.nn.init.uniform_(prior.mean_texture)
    return prior.eval().requires_grad_(False)


def unseen_bank(track: Track) -> Bank:
    """A bank that shows nothing."""
    expressions = track.lower_expression[:1].expand(BANK_FRAMES, -1)[None]
    empty = torch.zeros(1, BANK_FRAMES, 4, 256, 256)
    return Bank(empty[:, :, :3], empty[:, :, 3:], expressions, torch.zeros(1, BANK_FRAMES, 2))


def painted(inputs: RenderInputs, inside: torch.Tensor) -> RenderInputs:
    crop = torch.where(inputs.erased > 0, inside, inputs.crop)
    return replace(inputs, crop=crop)


def test_erased_pixels_and_own_expression_cannot_leak(scene, prior):
    track, frames, crops = scene
    look = prior.encode_look((track, frames, crops))
    renderer = fast_renderer(prior.renderer)
    inputs = render_inputs(MODEL, track, frames[:2], crops[:2], prior.erasing_expressions)
    first = draw(renderer, look, inputs)
    noise = torch.rand(crops[:2].shape, generator=torch.Generator().manual_seed(1))
    for inside in (noise, torch.zeros_like(noise), crops[5:7], torch.full_like(noise, torch.nan)):
        again = draw(renderer, look, painted(inputs, inside))
        assert torch.equal(again.rgb, first.rgb) and torch.equal(again.matte, first.matte)
    outside = draw(renderer, look, painted(inputs, crops[:2]))  # control: the check can fail
    changed = replace(inputs, crop=crops[:2] * 0.5)
    assert torch.equal(outside.rgb, first.rgb) and not torch.equal(draw(renderer, look, changed).rgb, first.rgb)
    # The hole is the same whatever the frame's own mouth does.
    other = track.with_motion(track.lower_expression.flip(0))
    assert torch.equal(
        render_inputs(MODEL, other, frames[:2], crops[:2], prior.erasing_expressions).erased, inputs.erased
    )


def test_any_batch_gives_the_same_bytes(scene, prior):
    track, frames, crops = scene
    look = prior.encode_look((track, frames, crops))
    renderer = fast_renderer(prior.renderer)
    whole = draw(renderer, look, render_inputs(MODEL, track, frames[:7], crops[:7], prior.erasing_expressions))
    assert FIXED_BATCH < 7
    for index in (0, 4, 6):
        one = slice(index, index + 1)
        single = draw(renderer, look, render_inputs(MODEL, track, frames[one], crops[one], prior.erasing_expressions))
        assert torch.equal(single.rgb[0], whole.rgb[index]) and torch.equal(single.matte[0], whole.matte[index])


@pytest.mark.parametrize("texture, expression", [(torch.inf, 0.0), (0.0, 1e30)])
def test_what_is_no_number_is_not_drawn(scene, prior, texture, expression):
    track, frames, crops = scene
    bank = unseen_bank(track)
    look = Look(
        torch.full((1, TEXTURE_CHANNELS, 256, 256), texture), replace(bank, expression=bank.expression + expression)
    )
    inputs = render_inputs(MODEL, track, frames[:1], crops[:1], prior.erasing_expressions)
    with pytest.raises(StoreError, match="what the renderer draws is no number"):
        draw(fast_renderer(prior.renderer), look, inputs)


def test_what_is_learnt_from_is_what_is_drawn(scene, prior):
    track, frames, crops = scene
    look = prior.encode_look((track, frames, crops))
    look.texture.requires_grad_(True)
    inputs = render_inputs(MODEL, track, frames[:FIXED_BATCH], crops[:FIXED_BATCH], prior.erasing_expressions)
    rgb, logit = draw_trainable(prior.renderer, look, inputs.narrowed())
    (top, left), (rows, columns) = seen_corners(inputs.erased)[0][0].tolist(), seen_size(256)
    drawn = draw(prior.renderer, look, inputs).rgb[..., top : top + rows, left : left + columns]
    assert torch.equal(rgb.detach().clamp(0, 1), drawn) and logit.shape == rgb[:, :1].shape
    rgb.sum().backward()
    assert float(look.texture.grad.abs().sum()) > 0
    own = dict(prior.renderer.named_parameters())
    assert torch.equal(draw_trainable(prior.renderer, look, inputs.narrowed(), own)[0], rgb)
    blank = {**own, "unet.head.weight": torch.zeros_like(own["unet.head.weight"])}
    assert not torch.equal(draw_trainable(prior.renderer, look, inputs.narrowed(), blank)[0], rgb)


def test_the_network_sees_all_that_is_erased_and_what_does_not_fit_is_drawn_whole(scene, prior):
    track, frames, crops = scene
    inputs = render_inputs(MODEL, track, frames[:3], crops[:3], prior.erasing_expressions)
    corners, fits = seen_corners(inputs.erased)
    rows, columns = seen_size(256)
    assert bool(fits.all()) and corners.tolist() == [[40, 16]] * 3 and (rows, columns) == (192, 224)
    assert float(inputs.seen(corners).erased.sum()) == float(inputs.erased.sum())
    moved = inputs.erased.roll((-20, 12), (2, 3))
    assert seen_corners(moved)[0].tolist() == [[24, 32]] * 3 and bool(seen_corners(moved)[1].all())
    look = prior.encode_look((track, frames, crops))
    large = inputs.erased.clone()
    large[1, :, :, 4] = large[1, :, :, -4] = 1
    assert seen_corners(large)[1].tolist() == [True, False, True]
    mixed = draw(prior.renderer, look, replace(inputs, erased=large))
    assert torch.equal(mixed.rgb[[0, 2]], draw(prior.renderer, look, inputs).rgb[[0, 2]])
    assert float(mixed.rgb[1, :, :, 4].abs().sum()) > 0 and float(mixed.rgb[0, :, :, 4].abs().sum()) == 0


def test_masks_nest_and_the_matte_ends_with_what_is_put_back(scene, prior):
    track, frames, crops = scene
    lower = track.lower_expression.flip(0)
    inputs = render_inputs(MODEL, track, frames, crops, prior.erasing_expressions, lower)
    own = render_inputs(MODEL, track, frames, crops, prior.erasing_expressions)
    lower_face, erased, put_back = inputs.buffer.lower_face, inputs.erased, inputs.put_back
    assert bool((inputs.buffer.mouth <= lower_face).all()) and bool((lower_face <= inputs.buffer.covered).all())
    assert bool((put_back <= erased).all())
    assert bool((torch.maximum(lower_face, own.buffer.lower_face) * erased <= put_back).all()), (
        "new and old mouth are put back"
    )
    assert 0.1 < float(erased.mean()) < 0.5
    drawn = draw(prior.renderer, Look(prior.mean_texture[None], unseen_bank(track)), inputs)
    assert bool((drawn.matte[put_back == 0] == 0).all()) and float(drawn.matte[lower_face * put_back == 1].min()) > 0.5


def test_dilate_reaches_exactly_so_far():
    mask = torch.zeros(1, 1, 64, 64)
    mask[0, 0, 32:34, 30:32] = 1
    wide = dilate(mask, 10, 4)[0, 0].nonzero()
    assert wide.min(0).values.tolist() == [28, 20] and wide.max(0).values.tolist() == [43, 41]


def test_the_erased_area_is_the_union_with_a_margin(scene, prior):
    track, frames, _ = scene
    count = len(prior.erasing_expressions)
    clip = track.clip_vertices(MODEL, frames[:1].repeat(count), prior.erasing_expressions)
    erased = erased_mask(MODEL, clip[None])
    each = gbuffer(MODEL, clip).lower_face.amax(0, keepdim=True)
    assert bool((each <= erased).all())
    lowest = [int(mask[0, 0].amax(1).nonzero().max()) for mask in (each, erased)]
    assert abs(lowest[1] - lowest[0] - ERASED_MARGIN_PX) <= 1
    assert torch.equal(put_back_mask(each, each, torch.zeros_like(erased)), torch.zeros_like(erased))


def test_fill_keeps_the_outside_and_continues_it():
    crop = torch.linspace(0, 1, 64).expand(1, 3, 64, 64).contiguous()
    erased = torch.zeros(1, 1, 64, 64)
    erased[..., 16:48, 16:48] = 1
    filled = fill_erased(crop, erased)
    assert torch.equal(filled[..., :16, :], crop[..., :16, :])
    assert float((filled - crop).abs().max()) < 0.2, "a ramp is continued roughly"


def test_expression_window_is_linear_in_time_and_stops_at_cuts():
    times = torch.tensor([0.0, 0.04, 0.1, 0.12, 0.16], dtype=torch.float64)  # uneven on purpose
    shot = torch.tensor([0, 0, 0, 1, 1], dtype=torch.int32)
    lower = (times * 10).float()[:, None]
    window = expression_window(lower, times, shot, torch.tensor([0, 1, 2, 3]))[..., 0]
    expected = [[0, 0, 0, 0.4, 0.8], [0, 0, 0.4, 0.8, 1], [0.2, 0.6, 1, 1, 1], [1.2, 1.2, 1.2, 1.6, 1.6]]
    assert torch.allclose(window, torch.tensor(expected), atol=1e-5)


def test_log_source_scale_of_a_doubling_crop_is_minus_log_two():
    affine = torch.tensor([[[0.0, -2.0, 5.0], [2.0, 0.0, 1.0]]], dtype=torch.float64)
    assert float(log_source_scale(affine)) == pytest.approx(-0.693147, abs=1e-5)


def test_texture_gradient_reaches_only_seen_texels(scene):
    track, frames, _ = scene
    buffer = gbuffer(MODEL, track.clip_vertices(MODEL, frames[:1]))
    texture = torch.rand(1, TEXTURE_CHANNELS, 256, 256, requires_grad=True)
    sampled = sample_texture(texture, buffer)
    assert torch.equal(sampled[:, -2:-1], buffer.covered) and bool(
        (sampled[0, :, buffer.covered[0, 0] == 0] == 0).all()
    )
    sampled[:, :-2].sum().backward()
    total = float(texture.grad.sum())
    assert total == pytest.approx(float(buffer.covered.sum()) * TEXTURE_CHANNELS, rel=1e-4)
    assert bool((texture.grad[:, :, :2, :2] == 0).all())


def test_unwrap_gives_back_the_texture_that_was_drawn(scene):
    track, frames, _ = scene
    grid = torch.linspace(0, 1, 256)
    smooth = torch.stack([grid[:, None].expand(256, 256), grid.expand(256, 256), torch.full((256, 256), 0.5)])[None]
    clip = track.clip_vertices(MODEL, frames[:2])
    drawn = sample_texture(smooth.contiguous(), gbuffer(MODEL, clip))[:, :3]
    rgb, weight = unwrap(MODEL, clip, drawn)
    seen = (weight > 0.5)[:, 0]
    error = (rgb - smooth).abs().amax(1)[seen]
    assert int(seen.sum()) > 10_000 and float(error.quantile(0.9)) < 0.02


def test_unet_sees_the_same_in_a_part_as_in_the_whole():
    torch.manual_seed(0)
    network = UNet(3, 2, (8, 8), 4)
    torch.nn.init.normal_(network.head.weight)
    image, condition = torch.rand(1, 3, 64, 64), torch.rand(1, 4)
    with torch.no_grad():
        whole, part = network(image, condition), network(image[..., 16:48, 16:48], condition)
    scale = float(whole.abs().mean())
    assert torch.allclose(whole[..., 28:36, 28:36], part[..., 12:20, 12:20], atol=0.02 * scale), "no image statistics"


def test_detail_of_the_texture_passes_straight_through_in_the_light_of_the_shot(scene):
    track, frames, crops = scene
    torch.manual_seed(0)
    renderer = Renderer(track.lower_expression.shape[1], widths=(8, 8, 16))
    torch.nn.init.zeros_(renderer.unet.head.weight)  # a network that corrects nothing
    shot, enrolled = torch.tensor([0.6, 0.5, 0.4]), torch.tensor([0.7, 0.4, 0.2])
    texture = torch.zeros(1, TEXTURE_CHANNELS, 256, 256)
    texture[:, :COLOUR_CHANNELS] = enrolled.repeat(3)[:, None, None]
    texture[:, :COLOUR_CHANNELS, 100:140] += 0.1
    lit = shot[None, :, None, None].expand(1, 3, 256, 256).contiguous()
    inputs = render_inputs(MODEL, track, frames[:1], lit, track.lower_expression[:2])
    rgb = draw(renderer, Look(texture, unseen_bank(track)), inputs).rgb[0]
    inside = inputs.buffer.lower_face[0, 0] * inputs.erased[0, 0] == 1
    band = (inputs.buffer.uv[0, ..., 1] * 256 > 102) & (inputs.buffer.uv[0, ..., 1] * 256 < 138) & inside
    rest = (inputs.buffer.uv[0, ..., 1] * 256 > 142) & inside
    assert int(band.sum()) > 500 and int(rest.sum()) > 500
    assert torch.allclose(rgb[:, rest].mean(1), shot, atol=0.05)
    assert torch.allclose(rgb[:, band].mean(1) - rgb[:, rest].mean(1), torch.full((3,), 0.1), atol=0.02)


def test_of_a_banks_frames_the_seen_one_that_is_alike_counts_and_a_query_can_ask_for_another():
    torch.manual_seed(0)
    choice = BankChoice(axes=2)
    difference = torch.tensor([[[0.0, 0, 0, 0], [0.5, 0, 0, 0], [0.5, 0, 0, 2], [5, 5, 0, 0]]])
    assert choice.likeness(difference)[0].argsort(descending=True).tolist() == [0, 1, 2, 3]
    seen, off = torch.ones(1, 4, 2, 2), torch.zeros(1, 4, 2, 2)
    seen[0, 0, 0, 0] = 0  # one pixel of the first frame is hidden
    query = torch.zeros(1, QUERY, 2, 2)
    scores = choice(difference, seen, off, query)
    assert scores.argmax(1)[0].tolist() == [[1, 0], [0, 0]]
    offer = choice.offer(torch.cat([difference, difference.abs()], -1))[0, 2]
    query[0, :, 1, 1] = 1000 * offer
    assert choice(difference, seen, off, query).argmax(1)[0, 0].tolist() == [1, 0]
    assert float((choice(difference, seen, off, query) - scores)[..., 1, 1].abs().max()) > 1


def test_what_the_bank_shows_is_drawn_where_the_network_asks_for_it(scene):
    track, frames, crops = scene
    torch.manual_seed(0)
    renderer = Renderer(track.lower_expression.shape[1], widths=(8, 8, 16))
    torch.nn.init.zeros_(renderer.unet.head.weight)  # a network that corrects nothing
    look = Look(torch.full((1, TEXTURE_CHANNELS, 256, 256), 0.5), unseen_bank(track))
    look.bank.colours[0, 2], look.bank.seen[0, 2] = 0.5, 1.0
    look.bank.colours[0, 2, :, ::2] += 0.1  # rows of texels
    inputs = render_inputs(MODEL, track, frames[:1], torch.full_like(crops[:1], 0.5), track.lower_expression[:2])
    inside = (inputs.buffer.lower_face * inputs.erased)[0, 0] == 1
    shown = []
    for gate in (-20.0, 20.0):
        renderer.unet.head.bias.data[COLOUR_BINS + 3] = gate
        shown.append(draw(renderer, look, inputs).rgb[0][:, inside].std())
    assert float(shown[0]) < 1e-3 < 0.01 < float(shown[1])


def test_a_bank_survives_eight_bits_and_hides_what_it_is_told_to():
    generator = torch.Generator().manual_seed(0)
    shapes = ((3, 8, 8), (1, 8, 8), (16,), (2,))
    bank = Bank(*(torch.rand(1, BANK_FRAMES, *shape, generator=generator) for shape in shapes))
    again = Bank.of_stored(bank.stored())
    assert float((again.colours - bank.colours).abs().max()) <= 0.51 / 255
    assert torch.equal(again.expression, bank.expression) and torch.equal(bank.rounded().seen, again.seen)
    hidden = torch.arange(BANK_FRAMES)[None] == 3
    left = bank.without(hidden)
    assert float(left.seen[0, 3].max()) == 0 and torch.equal(left.seen[0, 4], bank.seen[0, 4])
    with pytest.raises(StoreError, match="turn missing"):
        Bank.of_stored({name: value for name, value in bank.stored().items() if name != "turn"})


def test_bins_are_closed_half_and_open():
    opening = torch.linspace(0, 1, 101).flip(0)
    bins = choose_bins(opening)
    values = opening[bins]
    assert values[0].max() < 0.15 and (values[1] - 0.5).abs().max() < 0.05 and values[2].min() > 0.85
    assert choose_bins(torch.zeros(1)).tolist() == [[0, 0]] * 3


def test_prior_survives_a_round_trip(tmp_path, scene, prior):
    from prior.renderer.prior import load_renderer_prior

    track, frames, crops = scene
    prior.facts = {"steps": 3}
    prior.save(tmp_path / "renderer.safetensors")
    again = load_renderer_prior(tmp_path / "renderer.safetensors")
    assert again.facts["steps"] == 3 and len(again.facts["sha256"]) == 64
    first, second = (each.encode_look((track, frames, crops)).texture for each in (prior, again))
    assert float((first - second).abs().max()) < 0.02  # half precision
    enrollment = enrollment_of(MODEL, (track, frames, crops))
    assert enrollment.crops.shape[:3] == (1, 3, 2) and bool((enrollment.opening.diff() >= 0).all())
    apart = [(track, frames[rows], crops[rows]) for rows in (slice(0, 3), slice(3, None))]
    joined = enrollment_of(MODEL, *apart)
    assert torch.equal(joined.crops, enrollment.crops) and torch.equal(joined.clip_vertices, enrollment.clip_vertices)


def test_the_sources_chin_below_the_new_one_is_drawn_over():
    """The matte ends with the new lower face; beside it all is drawn over, and an occluder on it is kept."""
    lower_face = torch.zeros(1, 1, 64, 64)
    lower_face[..., :40, :] = 1
    logit = 8 * (2 * lower_face - 1)
    logit[..., 5:25, 20:44] = -8
    visible = _visible(logit, lower_face)
    assert float(visible[..., 40:, :].min()) == 1
    assert float(visible[0, 0, 15, 32]) < 0.01
    assert float(visible[..., 30:40, :].min()) > 0.99
