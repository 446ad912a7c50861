"""Mixdown: how the channels of a sound become the one that is listened to.

In: the blocks of a sound. Out: weights of its channels, and a constant that does not belong to it, found anew where its
channels change. A centre that sounds is where films keep their dialogue, and is taken alone; channels that cancel each
other are not added; channels in which nothing sounds do not count.
"""

from __future__ import annotations

from dataclasses import dataclass

import av
import numpy as np

from render.video.sound_blocks import SoundBlock

CENTRE = "FC"
# Power against the loudest channel: a centre under the first is no dialogue, a channel under the second holds nothing.
CENTRE_SHARE, SOUNDING_SHARE = 10**-3.0, 10**-4.0
# Where the mean of the channels keeps less of the loudest one's power, they cancel each other.
KEPT_SHARE = 10**-2.0
# A constant matters from this share of the sound's standard deviation on: it would fill the pauses to 34 dB below it.
CONSTANT_SHARE = 0.02
TOLD_CONSTANT = 0.01  # of full scale; smaller ones are not worth a sentence


@dataclass(frozen=True)
class ChannelUse:
    """How the channels of a stretch of sound are used.

    Attributes:
        weights: float32 [channels]; None for their plain mean.
        constant: float32 [channels], subtracted first; None where there is none that matters.
        note: one phrase on what was done, or nothing.
    """

    weights: np.ndarray | None = None
    constant: np.ndarray | None = None
    note: str = ""

    @property
    def is_plain(self) -> bool:
        """Whether it is the mean of the channels as they are."""
        return self.weights is None and self.constant is None

    def centred(self, block: SoundBlock) -> np.ndarray:
        """The block's samples [n, channels] without the constant."""
        return block.samples if self.constant is None or block.is_hole else block.samples - self.constant

    def mono(self, block: SoundBlock) -> np.ndarray:
        """The block as one channel, float32 [n]."""
        samples = self.centred(block)
        return samples.mean(axis=1) if self.weights is None else samples @ self.weights


class ChannelSurvey:
    """Gathers what the channels of a sound hold, in stretches of one layout."""

    def __init__(self) -> None:
        self._stretches: list[_Stretch] = []

    def add(self, block: SoundBlock) -> int:
        """Take the next block; returns the number of its stretch."""
        if not self._stretches or self._stretches[-1].layout != block.layout:
            self._stretches.append(_Stretch(block.layout, block.samples.shape[1]))
        if not block.is_hole:
            self._stretches[-1].add(block.samples)
        return len(self._stretches) - 1

    def uses(self) -> list[ChannelUse]:
        """How the channels of each stretch are to be used."""
        return [stretch.use() for stretch in self._stretches]


class _Stretch:
    """Sums over the samples of one layout."""

    def __init__(self, layout: str, channels: int) -> None:
        self.layout = layout
        self.count = 0
        self.sums = np.zeros(channels)
        self.products = np.zeros((channels, channels))

    def add(self, samples: np.ndarray) -> None:
        exact = samples.astype(np.float64)
        self.count += len(exact)
        self.sums += exact.sum(0)
        self.products += exact.T @ exact

    def use(self) -> ChannelUse:
        if not self.count:
            return ChannelUse()
        means = self.sums / self.count
        covariance = self.products / self.count - np.outer(means, means)
        power = np.maximum(covariance.diagonal(), 0.0)
        constant = np.where(np.abs(means) > CONSTANT_SHARE * np.sqrt(power), means, 0.0).astype(np.float32)
        weights, note = self._weights(power, covariance)
        largest = float(np.abs(constant).max())
        if largest >= TOLD_CONSTANT:
            note = "; ".join(filter(None, [note, f"a constant of {largest:.2f} lies under it, and is left out"]))
        return ChannelUse(weights, constant if largest else None, note)

    def _weights(self, power: np.ndarray, covariance: np.ndarray) -> tuple[np.ndarray | None, str]:
        loudest = power.max()
        names = [channel.name for channel in av.AudioLayout(self.layout).channels]
        if len(names) > 2 and CENTRE in names and power[names.index(CENTRE)] > CENTRE_SHARE * loudest:
            return _only(names.index(CENTRE), len(names)), "its centre channel is listened to"
        sounding = power >= SOUNDING_SHARE * loudest if len(names) > 2 else np.ones(len(names), bool)
        weights = sounding / sounding.sum()
        if weights @ covariance @ weights < KEPT_SHARE * loudest:
            first = int(np.flatnonzero(power >= SOUNDING_SHARE * loudest)[0])
            word = "the left one" if len(names) == 2 and first == 0 else f"channel {first + 1}"
            return _only(first, len(names)), f"its channels cancel each other, so {word} is listened to"
        return (None if sounding.all() else weights.astype(np.float32)), ""


def _only(index: int, channels: int) -> np.ndarray:
    return np.eye(channels, dtype=np.float32)[index]
