"""The paired judge of renderer pretraining: do these two pictures show real mouths of one person?

In: grey, high-passed pictures around two mouths, the first one real. A pair is right where both are real mouths of one
person; it is wrong where the second is drawn, and where it is a real mouth of somebody else. So what it asks for is not
a sharp mouth, but a sharp mouth of this person. The verdict is for training alone; a fit goes by the features.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn
from tqdm import tqdm

from prior.renderer.losses import box_filter
from prior.renderer.mouth_features import WIDTH, MouthFeatures, feature_error
from render.drawing.unet import prefers_bfloat16

#: Pairs a step, and learning rate, while it is taught.
TAUGHT_PAIRS, TEACHING_RATE = 32, 1e-3


class MouthJudge(MouthFeatures):
    """Two pictures through one encoder; each place of the second is held against the first as a whole.

    Args:
        width: channels of the first layer.
    """

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__(width)
        size = self.sizes[-1]
        self.first = nn.Linear(2 * size, size)
        self.join = nn.Conv2d(2 * size, size, 1)
        self.last = nn.Conv2d(size, 1, 1)

    def forward(self, known: torch.Tensor, asked: torch.Tensor) -> torch.Tensor:
        """Scores float32 [B, h, w], positive for real mouths of one person, from coarse features of both pictures."""
        whole = torch.cat([known.mean((2, 3)), known.amax((2, 3))], 1)
        person = self.first(whole)[..., None, None].expand_as(asked)
        return self.last(F.leaky_relu(self.join(torch.cat([person, asked], 1)), 0.2))[:, 0].float()


def judged(
    judge: MouthJudge, known: torch.Tensor, real: torch.Tensor, drawn: torch.Tensor, trust: torch.Tensor
) -> torch.Tensor:
    """What the judge has to learn from a batch: the softplus loss of a non-saturating game (Goodfellow et al. 2014).

    Args:
        judge: learns.
        known: [B, 1, *BOX_PX] another real mouth of each person; people are in runs of equal length.
        real: [B, 1, *BOX_PX] real mouths that were to be drawn.
        drawn: [B, 1, *BOX_PX] as they were drawn, without gradient.
        trust: [B] how much each source's detail counts.
    """
    with torch.autocast(known.device.type, torch.bfloat16, enabled=prefers_bfloat16(known.device)):
        first, second, third = (judge.encode(pictures)[-1] for pictures in (known, real, drawn))
        right, wrong = judge(first, second), judge(first, third)
        other = judge(first, second.roll(len(second) // 2, 0))
    losses = F.softplus(-right) + F.softplus(wrong) + 0.5 * F.softplus(other)
    return (losses.mean((1, 2)) * trust).sum() / trust.sum().clamp(min=1)


def teach(judge: MouthJudge, people: Sequence[torch.Tensor], steps: int, random: torch.Generator) -> float:
    """Teach a judge to tell people apart and sharp mouths from blurred ones, before it sees what is drawn.

    Args:
        judge: learns, from real mouths alone.
        people: of each person real mouths [N, 1, *BOX_PX], of whom two are needed.
        steps: of `TAUGHT_PAIRS` pairs each.
        random: what is drawn from.

    Returns:
        The loss of `judged`, smoothed, at the end; 1.73 is chance.
    """
    optimiser = torch.optim.Adam(judge.parameters(), TEACHING_RATE, betas=(0.5, 0.99))
    smoothed = math.log(2) * 2.5
    for _ in tqdm(range(steps), desc="teach the judge", mininterval=10):
        chosen = [people[int(row)] for row in torch.randperm(len(people), generator=random)[:TAUGHT_PAIRS]]
        pairs = [one[torch.randint(len(one), (2,), generator=random)] for one in chosen]
        known, real = (torch.stack([pair[side] for pair in pairs]) for side in (0, 1))
        size = (3, 5)[int(torch.randint(2, (), generator=random))]
        drawn = torch.lerp(box_filter(real, size), real, float(0.4 * torch.rand((), generator=random)))
        loss = judged(judge, known, real, drawn, real.new_ones(len(real)))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        smoothed += 0.05 * (float(loss.detach()) - smoothed)
    return smoothed


def convinced(
    judge: MouthJudge, known: torch.Tensor, real: torch.Tensor, drawn: torch.Tensor, trust: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """How far drawn mouths are from convincing the judge, and its features of them from those of the real ones.

    Arguments as for `judged`; differentiable in `drawn`.
    """
    with torch.autocast(known.device.type, torch.bfloat16, enabled=prefers_bfloat16(known.device)):
        with torch.no_grad():
            first, wanted = judge.encode(known)[-1], judge.encode(real)
        features = judge.encode(drawn)
        score = judge(first, features[-1])
    weight = trust / trust.sum().clamp(min=1)
    return (F.softplus(-score).mean((1, 2)) * weight).sum(), feature_error(features, wanted, trust)
