"""What was seen inside a mouth goes on over the next texels."""

import torch

from prior.face.model import load_face_model
from prior.renderer.sheets import REACH_TEXELS, carried_on, sheet_masks

MODEL = load_face_model()
SIZE = 256
RED = torch.tensor([0.9, 0.1, 0.1])


def test_what_is_seen_of_a_sheet_goes_on_over_its_next_texels_and_not_over_the_other_sheet():
    sheets = sheet_masks(MODEL, SIZE)
    upper, lower = sheets > 0
    assert not bool((upper & lower).any()) and 0.02 < float(upper.float().mean()) < 0.15
    rows, columns = upper.nonzero().unbind(-1)
    row, last = int(rows.float().mean()), int(columns.max())
    part = torch.zeros_like(upper)
    part[:, last - 20 :] = True
    part &= upper
    rgb = torch.rand(1, 3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    rgb[..., part] = RED[:, None]
    seen = torch.zeros(1, 3, 1, SIZE, SIZE)
    seen[..., part] = 1.0
    seen[..., upper & ~part] = 0.01  # borders on lips
    colours, share = carried_on(rgb, seen, sheets)
    assert (
        torch.allclose(colours[0, 1, :, row, last - 22], RED, atol=1e-5) and float(share[0, 1, 0, row, last - 22]) == 1
    )
    assert float(share[0, 1, 0, row, last - 21 - REACH_TEXELS]) == 0, "no farther than it reaches"
    assert float(share[..., lower].max()) == 0 and float(share[..., ~upper & ~lower].max()) == 0
    assert float(colours[..., ~upper].abs().max()) == 0


def test_what_is_little_seen_is_not_carried_on():
    sheets = sheet_masks(MODEL, SIZE)
    seen = 0.04 * torch.ones(1, 3, 1, SIZE, SIZE)
    colours, share = carried_on(torch.ones(1, 3, 3, SIZE, SIZE), seen, sheets)
    assert float(share.max()) == 0 and float(colours.abs().max()) == 0
