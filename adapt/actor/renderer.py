"""The renderer of one actor: the prior's with the actor's delta."""

import copy

import torch

from adapt.actor.delta import add_delta
from prior.renderer.prior import RendererPrior
from render.drawing.renderer import Renderer, fast_renderer


def adapted_renderer(prior: RendererPrior, delta: dict[str, torch.Tensor]) -> Renderer:
    """A copy of the prior's renderer with an actor's delta added, ready to draw."""
    renderer = copy.deepcopy(prior.renderer)
    add_delta(renderer, delta)
    return fast_renderer(renderer)
