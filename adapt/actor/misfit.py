"""Misfit: whether a bundle's tensors are such as a fit of a renderer prior makes; names and shapes, looked at once."""

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


def refuse_misfit(bundle: ActorBundle, path: Path, prior: RendererPrior) -> None:
    """Refuse a bundle that cannot be drawn with a prior, before anything long is begun.

    Args:
        bundle: as it was read.
        path: of the bundle, for the message.
        prior: renderer prior at hand.

    Raises:
        StoreError: a tensor is missing, unknown, or of another shape.
    """
    coefficients, described = prior.model.lower_basis.shape[0], Appearance()
    forms = {"texture": Form(tuple(prior.mean_texture.shape))}
    if bundle.delta:
        forms |= {DELTA + name: Form(tuple(value.shape)) for name, value in new_delta(prior.renderer, 0).items()}
    if bundle.style:
        forms |= {STYLE + name: Form((coefficients,)) for name in ("closed", "mean", "spread")}
        forms[f"{STYLE}frames"] = Form((), low=1)
    if any(name.startswith(SPEECH) for name in bundle.style):
        forms |= {f"{STYLE}{SPEECH}{name}": Form((coefficients,)) for name in ("mean", "spread")}
        forms[f"{STYLE}{SPEECH}seconds"] = Form((), low=0)
    if f"{SPEECH}filter" in bundle.style:
        forms[f"{STYLE}{SPEECH}filter"] = Form((coefficients, FILTER_WEIGHTS))
    if bundle.appearance:
        forms |= {f"{APPEARANCE}{name}": Form(getattr(described, name).shape) for name in ("patterns", "skin")}
    size = tuple(prior.mean_texture.shape[1:])
    shapes = {"colours": (3, *size), "seen": (1, *size), "expression": (coefficients,), "turn": (2,)}
    in_bytes = ("colours", "seen")
    forms |= {
        BANK + name: Form((BANK_FRAMES, *shape), torch.uint8 if name in in_bytes else torch.float32)
        for name, shape in shapes.items()
    }
    tensors = {"texture": bundle.texture}
    groups = {DELTA: bundle.delta, STYLE: bundle.style, APPEARANCE: bundle.appearance, BANK: bundle.bank}
    for prefix, group in groups.items():
        tensors |= {prefix + name: value for name, value in group.items()}
    refuse_other_forms(path / TENSORS, tensors, forms)
    if bundle.detail:
        try:
            Detail.of_stored(bundle.detail)
        except StoreError as error:
            raise StoreError(f"{path / TENSORS}: {error}") from error
