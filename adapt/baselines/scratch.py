"""Scratch: the same network learnt for one actor alone, without the prior: shows what the prior is worth."""

import math
import time
from typing import Any

import torch

from adapt.fitting.clip import FitClip, FrameReader, first_look
from prior.renderer.losses import renderer_loss
from prior.renderer.prior import RendererPrior
from render.drawing.gbuffer import TEXTURE_SIZE
from render.drawing.look import Look
from render.drawing.neural_texture import TEXTURE_CHANNELS
from render.drawing.renderer import Renderer, draw_trainable

#: Adam's rates for a network and a texture that know nothing.
SCRATCH_RATE, SCRATCH_TEXTURE_RATE = 2e-3, 1e-2


def blank_renderer(prior: RendererPrior, seed: int = 0) -> Renderer:
    """The prior's network with random weights; only the scale of expressions is known."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        arguments: dict[str, Any] = prior.renderer.arguments
        renderer = Renderer(**arguments)
    for name in ("expression_mean", "expression_scale"):
        getattr(renderer, name).copy_(getattr(prior.renderer, name))
    return renderer


def from_scratch(
    prior: RendererPrior, renderer: Renderer, clip: FitClip, processor_seconds: float, seed: int = 0
) -> tuple[Look, int]:
    """Learn a network and a texture from one enrollment alone, a frame a step, by the loss of the prior.

    Args:
        prior: whose face model and fixed expressions are used; its weights are not.
        renderer: of `blank_renderer`; learns in place.
        clip: the enrollment; its held-out rows are learnt from, too.
        processor_seconds: how long. Time decides, so two runs differ in their last steps.
        seed: of the choice of frames.

    Returns:
        The look, whose texture was learnt, and the steps taken (at least one).
    """
    texture = torch.full((1, TEXTURE_CHANNELS, TEXTURE_SIZE, TEXTURE_SIZE), 0.5, requires_grad=True)
    rates = (SCRATCH_TEXTURE_RATE, SCRATCH_RATE)
    renderer.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    groups = [{"params": [texture], "lr": rates[0]}, {"params": list(renderer.parameters()), "lr": rates[1]}]
    optimiser = torch.optim.Adam(groups, betas=(0.9, 0.99))
    random = torch.Generator().manual_seed(seed)
    rows = torch.cat([clip.learn, clip.held_out])
    first = first_look(prior, [clip])
    reader = FrameReader(prior, [clip], first)
    started, step, used = time.process_time(), 0, 0.0
    while used < 1:
        row = int(rows[torch.randint(len(rows), (), generator=random)])
        inputs, look = reader.read(0, row), Look(texture, reader.bank(0, row))
        loss = renderer_loss(draw_trainable(renderer, look, inputs), inputs)["total"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        step += 1
        used = (time.process_time() - started) / max(processor_seconds, 1e-6)
        for group, rate in zip(optimiser.param_groups, rates, strict=True):
            group["lr"] = rate * 0.5 * (1 + math.cos(math.pi * min(used, 1)))
    return Look(texture.detach(), first.look.bank), step
