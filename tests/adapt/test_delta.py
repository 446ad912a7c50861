import copy

import pytest
import torch
from torch import nn
from torch.func import functional_call

from adapt.actor.delta import UNCHANGED, add_delta, new_delta, with_delta
from prior.renderer.prior import load_renderer_prior


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.Flatten(), nn.Linear(8 * 4, 5))


def test_a_new_delta_changes_nothing_and_learns():
    net, image = network(), torch.rand(2, 3, 4, 4)
    delta = {name: value.requires_grad_() for name, value in new_delta(net, seed=1, rank=2).items()}
    torch.testing.assert_close(functional_call(net, with_delta(net, delta), image), net(image), rtol=0, atol=0)
    functional_call(net, with_delta(net, delta), image).square().sum().backward()
    assert all(value.grad is not None for value in delta.values())
    assert all(float(value.grad.abs().sum()) > 0 for name, value in delta.items() if not name.endswith(".right"))


def test_adding_in_place_equals_the_functional_form():
    net, image = network(), torch.rand(2, 3, 4, 4)
    delta = {name: torch.randn_like(value) for name, value in new_delta(net, seed=1, rank=2).items()}
    expected = functional_call(net, with_delta(net, delta), image)
    changed = copy.deepcopy(net)
    add_delta(changed, delta)
    torch.testing.assert_close(changed(image), expected)


def test_the_renderers_delta_leaves_out_what_reads_coarse_features():
    renderer = load_renderer_prior().renderer
    changed = {name.removesuffix(".left").removesuffix(".right") for name in new_delta(renderer, 0)}
    kept = {name for name, _ in renderer.named_parameters()} - changed
    assert kept and all(name.startswith(UNCHANGED) for name in kept)
    assert not any(name.startswith(UNCHANGED) for name in changed)
    assert {name.split(".")[1] for name in kept} == {"encode", "down", "bottom"}


def test_a_foreign_delta_is_refused():
    with pytest.raises(KeyError, match="other"):
        with_delta(network(), {"other": torch.zeros(3)})
