"""Which frames of a bank count at which pixel of a drawn mouth.

In: how a frame's mouth and head pose differ from what is to be drawn, how well it shows each pixel, and what the
network asks for there. Out: scores, whose softmax over frames are weights.
"""

import torch
from torch import nn

#: Length of the network's query at a pixel.
QUERY = 4
#: A texel that a frame of the bank hardly shows does not count; added to weights before their logarithm.
LEAST_SEEN = 1e-4


class BankChoice(nn.Module):
    """How well each frame of a bank fits what is to be drawn, pixel by pixel.

    A frame whose expression and turn are alike scores high; how much each axis counts is learnt. The network asks for
    something of its own at every pixel, which is held against what each frame has to offer (attention over frames).

    Args:
        axes: of lower expressions that are compared.
    """

    def __init__(self, axes: int) -> None:
        super().__init__()
        self.log_weight = nn.Parameter(torch.full((axes + 2,), -1.0))
        self.offer = nn.Linear(2 * (axes + 2), QUERY)
        self.off_weight = nn.Parameter(torch.zeros(()))
        nn.init.normal_(self.offer.weight, std=0.1)

    def likeness(self, difference: torch.Tensor) -> torch.Tensor:
        """Scores [B, K] of frames by normalised differences [B, K, axes + 2] of expression and turn; 0 is alike."""
        return -(difference.square() * self.log_weight.exp()).sum(-1)

    def forward(
        self, difference: torch.Tensor, seen: torch.Tensor, off: torch.Tensor, query: torch.Tensor
    ) -> torch.Tensor:
        """Scores [B, K, H, W].

        Args:
            difference: [B, K, axes + 2], see `likeness`.
            seen: [B, K, H, W] how well each frame shows the texel.
            off: [B, K, H, W] how far its colour is from that of the frames that are alike.
            query: [B, QUERY, H, W] of the network.
        """
        offer = self.offer(torch.cat([difference, difference.abs()], -1))  # [B, K, QUERY]
        asked = torch.einsum("bkq,bqhw->bkhw", offer, query)
        return asked + self.off_weight * off + self.likeness(difference)[..., None, None] + (seen + LEAST_SEEN).log()
