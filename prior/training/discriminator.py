"""The discriminator of renderer pretraining: are these neighbouring frames real or drawn?

In: runs of T neighbouring frames, stacked, complete crops. Out: a score for every patch of about 46 px. It sees several
frames at once, so that teeth that change from frame to frame give a drawing away as much as blurred ones. It takes no
part in anything but training and does not ship.
"""

import torch
import torch.nn.functional as F
from torch import nn

from prior.renderer.losses import box_filter
from render.drawing.unet import prefers_bfloat16

STRIDE = 8
#: Fine texture is shown by itself as well, so much stronger: it is faint beside everything else.
FINE_BOX_PX, FINE_GAIN = 3, 10.0


class Discriminator(nn.Module):
    """Patch discriminator (Isola et al. 2017) on T stacked frames, without norms.

    Args:
        frames: T.
        width: channels of the first layer.
    """

    def __init__(self, frames: int, width: int = 32) -> None:
        super().__init__()
        sizes = [6 * frames + 1, width, 2 * width, 4 * width]
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 4, 2, 1) for a, b in zip(sizes, sizes[1:], strict=False))
        self.last = nn.Conv2d(sizes[-1], 1, 3, padding=1)

    def forward(self, rgb: torch.Tensor, erased: torch.Tensor) -> torch.Tensor:
        """Scores float32 [P, 1, H / 8, W / 8], 1 for real and 0 for drawn.

        Args:
            rgb: [P, T, 3, H, W] complete crops.
            erased: [P, T, 1, H, W], what was erased and drawn anew.
        """
        stack = rgb.flatten(1, 2)
        fine = FINE_GAIN * (stack - box_filter(stack, FINE_BOX_PX))
        x = torch.cat([stack - 0.5, fine, erased.amax(1)], 1).contiguous(memory_format=torch.channels_last)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=prefers_bfloat16(x.device)):
            for layer in self.layers:
                x = F.leaky_relu(layer(x), 0.2)
            return self.last(x).float()


def patch_error(score: torch.Tensor, wanted: float, erased: torch.Tensor, trust: torch.Tensor) -> torch.Tensor:
    """Least-squares error (Mao et al. 2017) of scores [P, 1, h, w], over patches of the erased area [P, T, 1, H, W].

    Args:
        score: of the discriminator.
        wanted: 1 for real, 0 for drawn.
        erased: what was erased.
        trust: [P] how much each source's detail counts.
    """
    place = F.avg_pool2d(erased.amin(1), STRIDE) * trust[:, None, None, None]
    return ((score - wanted).square() * place).sum() / place.sum().clamp(min=1)
