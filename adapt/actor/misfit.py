"""Misfit: whether a bundle's tensors are such as a fit of a renderer prior makes; names and shapes, looked at once."""

import math
from pathlib import Path

import torch

from adapt.actor.bundle import APPEARANCE, BANK, DELTA, STYLE, TENSORS, ActorBundle
from adapt.actor.delta import new_delta
from adapt.cast.appearance import Appearance
from prior.motion.own_speech import FILTER_WEIGHTS
from prior.motion.style import SPEECH
from prior.renderer.prior import RendererPrior
from render.drawing.detail import Detail
from render.drawing.look import BANK_FRAMES
from render.errors import StoreError
from render.store import Form, refuse_other_forms

#: Nothing that a fit learns or measures is nearly so large; what is, overflows as it is drawn.
LARGEST_LEARNT = 100.0


def refuse_misfit(bundle: ActorBundle, path: Path, prior: RendererPrior) -> None:
    """Refuse a bundle that cannot be drawn with a prior, before anything long is begun.

    Args:
        bundle: as it was read.
        path: of the bundle, for the message.
        prior: renderer prior at hand.

    Raises:
        StoreError: a tensor is missing, unknown, of another shape, or holds values that no fit makes.
    """
    refuse_other_forms(path / TENSORS, *_tensors_and_forms(bundle, prior))
    if bundle.detail:
        try:
            Detail.of_stored(bundle.detail)
        except StoreError as error:
            raise StoreError(f"{path / TENSORS}: {error}") from error


def _tensors_and_forms(bundle: ActorBundle, prior: RendererPrior) -> tuple[dict[str, torch.Tensor], dict[str, Form]]:
    """All tensors of a bundle but its detail's, and what they have to be, by name."""
    coefficients, described = prior.model.lower_basis.shape[0], Appearance()

    def learnt(*shape: int) -> Form:
        return Form(shape, low=-LARGEST_LEARNT, high=LARGEST_LEARNT)

    spread = Form((coefficients,), low=0, high=LARGEST_LEARNT)
    forms = {"texture": learnt(*prior.mean_texture.shape)}
    if bundle.delta:
        forms |= {DELTA + name: learnt(*value.shape) for name, value in new_delta(prior.renderer, 0).items()}
    if bundle.style:
        forms |= {STYLE + name: learnt(coefficients) for name in ("closed", "mean")} | {f"{STYLE}spread": spread}
        forms[f"{STYLE}frames"] = Form((), low=1)
    if any(name.startswith(SPEECH) for name in bundle.style):
        forms |= {f"{STYLE}{SPEECH}mean": learnt(coefficients), f"{STYLE}{SPEECH}spread": spread}
        forms[f"{STYLE}{SPEECH}seconds"] = Form((), low=0)
    if f"{SPEECH}filter" in bundle.style:
        forms[f"{STYLE}{SPEECH}filter"] = learnt(coefficients, FILTER_WEIGHTS)
    if bundle.appearance:
        forms |= {f"{APPEARANCE}{name}": Form(getattr(described, name).shape) for name in ("patterns", "skin")}
    size = tuple(prior.mean_texture.shape[1:])
    forms |= {
        f"{BANK}colours": Form((BANK_FRAMES, 3, *size), torch.uint8),
        f"{BANK}seen": Form((BANK_FRAMES, 1, *size), torch.uint8),
        f"{BANK}expression": learnt(BANK_FRAMES, coefficients),
        f"{BANK}turn": Form((BANK_FRAMES, 2), low=-math.tau, high=math.tau),
    }
    tensors = {"texture": bundle.texture}
    groups = {DELTA: bundle.delta, STYLE: bundle.style, APPEARANCE: bundle.appearance, BANK: bundle.bank}
    for prefix, group in groups.items():
        tensors |= {prefix + name: value for name, value in group.items()}
    return tensors, forms
