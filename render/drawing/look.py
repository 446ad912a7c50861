"""Look: what an actor looks like to the renderer, a neural texture and a bank of the actor's frames; and its samples.

A bank holds K frames laid out over uv. What a frame shows of a mouth fits best where the mouth to be drawn is alike, so
each brings its lower expression and how the head was turned. Which frame counts where is the renderer's to say; the
bank itself stays the same within a shot.
"""

from dataclasses import dataclass, fields, replace
from functools import cached_property

import torch

from cuda_ext import ops
from render.drawing.gbuffer import GBuffer
from render.drawing.neural_texture import sample_texture
from render.errors import StoreError

#: Frames in a bank.
BANK_FRAMES = 8


@dataclass(frozen=True)
class Bank:
    """Frames of P actors, laid out over uv.

    Attributes:
        colours: [P, K, 3, H', W'] float32 sRGB in [0, 1].
        seen: [P, K, 1, H', W'] float32 in [0, 1], how well the frame shows a texel; 0 where it does not.
        expression: [P, K, E] lower expression of each frame.
        turn: [P, K, 2] pitch and yaw of the head in each frame, radians.
    """

    colours: torch.Tensor
    seen: torch.Tensor
    expression: torch.Tensor
    turn: torch.Tensor

    def __len__(self) -> int:
        return len(self.colours)

    @cached_property
    def flat(self) -> torch.Tensor:
        """Colours and weight of all frames as one map [P, 4 K, H', W'], laid out as it is sampled."""
        flat = torch.cat([self.colours, self.seen], 2).flatten(1, 2)
        return flat.contiguous(memory_format=torch.channels_last)

    def to(self, device: str | torch.device) -> "Bank":
        """The same on another device."""
        return Bank(**{item.name: getattr(self, item.name).to(device) for item in fields(self)})

    def of(self, person: int) -> "Bank":
        """The bank of one of its actors."""
        return Bank(**{item.name: getattr(self, item.name)[person : person + 1] for item in fields(self)})

    def without(self, hidden: torch.Tensor) -> "Bank":
        """The same with the frames that are True in hidden [P, K] not seen anywhere."""
        return replace(self, seen=self.seen * (~hidden)[..., None, None, None])

    def rounded(self) -> "Bank":
        """The same as it is after `stored` and `of_stored`, for one actor."""
        return Bank.of_stored(self.stored())

    def stored(self) -> dict[str, torch.Tensor]:
        """One actor's bank as tensors of a file: colours and weights in 8 bits."""
        return {
            "colours": _in_bytes(self.colours[0]),
            "seen": _in_bytes(self.seen[0]),
            "expression": self.expression[0],
            "turn": self.turn[0],
        }

    @staticmethod
    def of_stored(tensors: dict[str, torch.Tensor]) -> "Bank":
        """The inverse of `stored`, but for the rounding to 8 bits; raises `StoreError` where tensors are missing."""
        wanted = {item.name for item in fields(Bank)}
        if set(tensors) != wanted:
            raise StoreError(f"bank: {', '.join(sorted(wanted ^ set(tensors)))} missing or unknown")
        scaled = {name: value / 255 if value.dtype == torch.uint8 else value for name, value in tensors.items()}
        return Bank(**{name: value.float()[None] for name, value in scaled.items()})


@dataclass(frozen=True)
class Look:
    """What P actors look like.

    Attributes:
        texture: [P, TEXTURE_CHANNELS, H', W'] float32 neural texture.
        bank: of the same P actors.
    """

    texture: torch.Tensor
    bank: Bank

    def to(self, device: str | torch.device) -> "Look":
        """The same on another device."""
        return Look(self.texture.to(device), self.bank.to(device))


@dataclass(frozen=True)
class Samples:
    """A look as B crops show it.

    Attributes:
        features: [B, TEXTURE_CHANNELS + 2, H, W] of `sample_texture`.
        colours: [B, K, 3, H, W] of the bank's frames, anything where nothing is seen; seen: [B, K, 1, H, W].
        expression: [B, K, E], turn: [B, K, 2] of the bank's frames.
    """

    features: torch.Tensor
    colours: torch.Tensor
    seen: torch.Tensor
    expression: torch.Tensor
    turn: torch.Tensor

    @staticmethod
    def joined(parts: "list[Samples]") -> "Samples":
        """Samples of several runs of crops in a row."""
        return Samples(
            **{item.name: torch.cat([getattr(part, item.name) for part in parts]) for item in fields(Samples)}
        )


def sample_look(look: Look, buffer: GBuffer) -> Samples:
    """Draw a look into crops: bilinear samples wherever the face model is seen.

    Args:
        look: of one actor, or of the B crops.
        buffer: of B crops.
    """
    count, bank = len(buffer.uv), look.bank
    # Planes, since all that follows works on them.
    drawn = ops.texture(bank.flat, buffer.uv, filter_mode="bilinear").contiguous()
    drawn = drawn.unflatten(1, (bank.colours.shape[1], 4))
    return Samples(
        sample_texture(look.texture, buffer),
        drawn[:, :, :3],
        drawn[:, :, 3:] * buffer.covered[:, None],
        bank.expression.expand(count, -1, -1),
        bank.turn.expand(count, -1, -1),
    )


def _in_bytes(values: torch.Tensor) -> torch.Tensor:
    return (values.clamp(0, 1) * 255).round().to(torch.uint8)
