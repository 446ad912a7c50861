"""Self-replay: what the prior draws in expressions that the footage never showed, for a fit to stay near there.

In: a fit's frames, and the prior with its unadapted look. Out: frames with an expression far from all that is learnt,
and in their crops what the prior draws there. A network that learns one task forgets others less where its former self
says what it did there (Li and Hoiem 2016, "Learning without Forgetting").
"""

from dataclasses import replace

import torch

from adapt.fitting.clip import FrameReader
from prior.renderer.losses import completed
from render.drawing.look import Look
from render.drawing.renderer import WINDOW_CENTRE, RenderInputs, draw_trainable, expression_window, render_inputs

#: One step in so many replays, its loss times this weight; so many pictures are replayed in turn.
#: SN of the mouth after 250 steps, all of the way to the best state, in the third of a person's other frames whose
#: expressions are farthest from those learnt: unadapted 2.47, without replay 3.11, with it 2.39 (a mouth learnt shut);
#: 2.12, 3.04, 2.22; 2.47, 2.51, 2.33; 1.56, 1.32, 1.34. In the nearest third: 1.39, 1.27, 1.23; 1.93, 2.15, 1.79;
#: 2.19, 1.98, 1.95; 1.13, 1.17, 1.15.
#: Tried: one step in four with all of the weight and expressions less far away, 2.48, but half of what a fit gains
#: elsewhere is lost; no delta for what reads the expression, in place of replay, 3.06.
REPLAY_EVERY, REPLAY_WEIGHT, REPLAYED = 8, 0.5, 24
#: How far an expression goes from a frame's own towards an extreme one: at least this part of the farthest.
LEAST_REACH = 0.6
#: The farthest towards closed, widest, smile and pucker: no mouth opens quite as far as the widest.
FARTHEST = (1.0, 0.8, 1.0, 1.0)
#: Noise on top, in standard deviations; of so many tried, the expression farthest from the footage is taken.
NOISE, TRIED = 0.3, 8


class Replay:
    """The pictures that a fit replays, each made when it is first asked for.

    Args:
        reader: of the fit.
        seed: of the expressions.
    """

    def __init__(self, reader: FrameReader, seed: int) -> None:
        self.reader, self.seed = reader, seed
        self._kept: dict[int, RenderInputs] = {}
        self._learnt = torch.cat([clip.track.lower_expression[clip.frames[clip.learn]] for clip in reader.clips])

    def read(self, index: int, number: int, row: int) -> RenderInputs:
        """Inputs of one frame that hold what the prior drew as its real pixels.

        Args:
            index: which of the pictures; its expression depends on seed and index alone.
            number: of the clip that it is drawn in the first time, and always the same.
            row: of that clip's `frames`, too; it is drawn with the bank of that frame.
        """
        if index not in self._kept:
            self._kept[index] = self._drawn(index, number, row)
        return self._kept[index]

    def _drawn(self, index: int, number: int, row: int) -> RenderInputs:
        reader, prior, clip = self.reader, self.reader.prior, self.reader.clips[number]
        track, frame = clip.track, clip.frames[[row]]
        window = expression_window(track.lower_expression, track.timestamps, track.shot, frame)
        own = window[0, WINDOW_CENTRE]
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + index)
        scale, axes = prior.renderer.expression_scale, prior.renderer.expression_axes
        unseen = unseen_expression(own, self._learnt, prior.erasing_expressions, scale, axes, generator)
        lower = track.lower_expression.clone()
        lower[frame] = unseen
        crop = clip.crops[[row]].float() / 255
        inputs = render_inputs(
            prior.model, track, frame, crop, prior.erasing_expressions, lower, window + (unseen - own)
        )
        inputs = inputs.narrowed().to(reader.device)
        look = Look(reader.first.look.texture, reader.bank(number, row))
        with torch.no_grad():
            rgb, _ = draw_trainable(reader.renderer, look, inputs)
        return replace(inputs, crop=completed(rgb, inputs))


def unseen_expression(
    own: torch.Tensor,
    learnt: torch.Tensor,
    extremes: torch.Tensor,
    scale: torch.Tensor,
    axes: int,
    generator: torch.Generator,
) -> torch.Tensor:
    """An expression that footage never showed: most of the way from a frame's own to an extreme one, far from the rest.

    Args:
        own: [E] lower expression of the frame.
        learnt: [N, E] of all frames that are learnt from.
        extremes: [4, E] of `extreme_expressions`.
        scale: [E] standard deviations.
        axes: how many of the first coefficients tell expressions apart.
        generator: of chance.

    Returns:
        [E].
    """
    which = torch.randint(len(FARTHEST), (TRIED,), generator=generator)
    reach = LEAST_REACH + (1 - LEAST_REACH) * torch.rand(TRIED, 1, generator=generator)
    reach = reach * torch.tensor(FARTHEST)[which, None]
    tried = own + reach * (extremes[which] - own) + NOISE * scale * torch.randn(TRIED, len(own), generator=generator)
    apart = torch.cdist((tried / scale)[:, :axes], (learnt / scale)[:, :axes]).amin(1)
    return tried[apart.argmax()]
