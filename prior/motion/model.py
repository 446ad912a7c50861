"""Audio to motion: phonetic posteriors and prosody in, lower expression of the face model out, for any fitted actor.

The network knows no person. It predicts how far the mouth is from the mean of talking, in units of the speaker's own
spread, at `LABEL_RATE`; an actor's `MouthStyle` turns that into coefficients. It sees a bounded
stretch of sound to either side of a row and is deterministic: the same sound and style give the same motion, however
long the sound is. Lips meet at p b m and are near at f v; in silence the mouth is closed and still. Trained by
`prior.training.motion`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import nn

from prior.motion.closures import LABIODENTAL_OPENING, lips_near, speech_gate
from prior.motion.filtering import LINEAR_REACH_ROWS, LINEAR_STEP_ROWS, LINEAR_TAPS, filtered
from prior.motion.sampling import MotionDenoiser, in_pieces, sample
from prior.motion.style import (
    SPEECH_MEAN_SECONDS,
    SPEECH_SPREAD_SECONDS,
    STYLE_PRIOR_FRAMES,
    MouthStyle,
    SpeechStyle,
)
from prior.network import refuse_others, stored_network
from prior.speech.features import FRAME_RATE, PROSODY, Features, features
from prior.speech.lip_encoder import COLUMNS, lip_columns, shipped_lip_encoder
from prior.speech.phonemes import CLASSES, CLOSED, LABEL_RATE, LABIODENTAL, SILENCE
from prior.speech.phonetics import ConvolutionBlock, PhoneticEncoder, posteriors, shipped_phonetics
from prior.speech.pretrained_front_end import FrontEnd, recalled_front_end
from prior.speech.sound import SAMPLE_RATE, read_waveform
from prior.speech.voice import shipped_voice, silenced, voice
from render.head.motion import Motion
from render.store import load_tensors, save_tensors

KIND = "adapt-motion-model"
KIND_VERSION = 4

FRONT_END = "front_end."  # what names of its tensors begin with

WEIGHTS = Path(__file__).parents[1] / "weights" / "motion.safetensors"

# Posteriors and prosody, with which a row begins; the sync network and personal filters read no more of it.
SOUND_INPUTS = len(CLASSES) + len(PROSODY)
# Width of a row the network reads, without a front end: roots of the posteriors besides, so that what is heard faintly
# counts, and the lip encoder's columns. Tried, no gain: hidden layers of the phonetic encoder; recurrent networks.
# Log-mel gains .02 in concordance on people left out, but synthetic voices then move the mouth too little, and late.
INPUTS = SOUND_INPUTS + len(CLASSES) + COLUMNS


BEYOND_ROWS = 25  # of silence that the network hears before and after a sound: the mouth comes from rest, and returns
#: What clips are brought into step by are whole rows; so much later than seen do openings come out, in rows, by the
#: peak of their correlation over *train* clips.
LATE_ROWS = 0.175

# An actor's spread and mean opening, in the population's: silent or laughing enrollment says little about talking.
SPREAD_LIMITS = (0.5, 2.0)


@dataclass(frozen=True)
class MotionConfig:
    """Size of the network.

    Attributes:
        axes: E, lower-expression axes of the face model it was trained for.
        width: channels.
        dilations: one residual block each, 7 taps this many rows apart.
        members: networks whose predictions are averaged.
        denoiser_dilations: of the network that draws samples around the prediction (see `prior.motion.sampling`); the
            motion is the prediction itself where there are none.
        front_end: columns of a front end of the user's own that a row has besides (`pretrained_front_end`).
    """

    axes: int
    width: int = 64
    dilations: tuple[int, ...] = (1, 2, 4)
    members: int = 1
    denoiser_dilations: tuple[int, ...] = ()
    front_end: int = 0

    @property
    def inputs(self) -> int:
        """Width of a row the network reads."""
        return INPUTS + self.front_end


class MotionNetwork(nn.Module):
    """One member: rows [B, T, inputs] to displacement from the mean [B, T, E], in units of spread.

    A linear filter of the rows within `LINEAR_REACH_ROWS`, which training starts from ridge regression, plus what a
    stack of residual convolutions adds to it.
    """

    def __init__(self, config: MotionConfig, dropout: float = 0.0) -> None:
        super().__init__()
        self.entry = nn.Linear(config.inputs, config.width)
        self.blocks = nn.ModuleList(ConvolutionBlock(config.width, dilation) for dilation in config.dilations)
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(config.width, config.axes)
        inputs, axes = config.inputs, config.axes
        self.linear = nn.Conv1d(inputs, axes, LINEAR_TAPS, dilation=LINEAR_STEP_ROWS, padding=LINEAR_REACH_ROWS)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Rows [B, T, inputs] to [B, T, E]."""
        hidden = self.drop(self.entry(rows))
        for block in self.blocks:
            hidden = self.drop(block(hidden))
        return self.head(hidden) + self.linear(rows.transpose(1, 2)).transpose(1, 2)


class MotionModel(nn.Module):
    """The trained model: its networks, and the population's mouth for people without a style.

    Attributes:
        neutral_closed, neutral_mean, neutral_spread: [E], style of the average training person.
        gain: [E], restores the spread that averaging over what sound does not tell takes away.
        denoiser: draws samples, if the model has one.
        front_end: hears besides the phonetic encoder, if the model was trained with one.
        opening_axis: [E] cm of lip opening per unit of each coefficient.
        closing_direction: [E] how coefficients change per cm of opening when people talk.
    """

    def __init__(self, config: MotionConfig, dropout: float = 0.0) -> None:
        super().__init__()
        self.config = config
        self.members = nn.ModuleList(MotionNetwork(config, dropout) for _ in range(config.members))
        self.denoiser: MotionDenoiser | None = None
        if config.denoiser_dilations:
            self.denoiser = MotionDenoiser(config.axes, config.inputs, config.width, config.denoiser_dilations)
        self.front_end: FrontEnd | None = None
        self.register_buffer("neutral_closed", torch.zeros(config.axes))
        self.register_buffer("neutral_mean", torch.zeros(config.axes))
        self.register_buffer("neutral_spread", torch.ones(config.axes))
        self.register_buffer("gain", torch.ones(config.axes))
        self.register_buffer("opening_axis", torch.zeros(config.axes))
        self.register_buffer("closing_direction", torch.zeros(config.axes))
        self.neutral_closed: torch.Tensor
        self.neutral_mean: torch.Tensor
        self.neutral_spread: torch.Tensor
        self.gain: torch.Tensor
        self.opening_axis: torch.Tensor
        self.closing_direction: torch.Tensor

    @property
    def context_rows(self) -> int:
        """Rows to either side that can change a row."""
        return max(3 * sum(self.config.dilations), LINEAR_REACH_ROWS)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Displacement from the mean of talking [B, T, E] in units of spread, from rows [B, T, INPUTS]."""
        return torch.stack([member(rows) for member in self.members]).mean(0)

    @torch.no_grad()
    def displacement(self, rows: torch.Tensor, style: MouthStyle | None = None) -> torch.Tensor:
        """Displacement [T, E] over a whole sound, rows [T, INPUTS]: the prediction, or a sample around it.

        The personal filter of a style, where it has one, adds to the prediction.
        """
        mean = in_pieces(self, (rows,), self.context_rows)
        if style is not None and style.speech is not None and style.speech.filter is not None:
            weights = style.speech.filter
            mean = mean + in_pieces(
                lambda part: filtered(part[0], weights)[None], (rows[:, :SOUND_INPUTS],), LINEAR_REACH_ROWS
            )
        # Filters read every second row: what changes from row to row would make the mouth tremble.
        return self.gain * smoothed(sample(self.denoiser, mean, rows) if self.denoiser else mean)

    def spread_of(self, speech: SpeechStyle) -> torch.Tensor:
        """Spread [E] to use for what own speech told: the less there was of it, the more it is the population's."""
        own_share = speech.seconds / (speech.seconds + SPEECH_SPREAD_SECONDS)
        usual = self.neutral_spread.log()
        low, high = SPREAD_LIMITS
        told = speech.spread.clamp(low * self.neutral_spread, high * self.neutral_spread)
        return torch.lerp(usual, told.log(), own_share).exp()

    def blended(self, style: MouthStyle | None) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Closed mouth, mean of talking and spread [E] to use for a style.

        The less footage it was measured on, the more its mean and spread are the population's, the mean counted from
        the person's own closed mouth.
        """
        if style is None:
            return self.neutral_closed, self.neutral_mean, self.neutral_spread
        low, high = SPREAD_LIMITS
        if style.speech is not None:
            own_share = style.speech.seconds / (style.speech.seconds + SPEECH_MEAN_SECONDS)
            own_mean, spread = style.speech.mean, self.spread_of(style.speech)
        else:
            own_share = style.frames / (style.frames + STYLE_PRIOR_FRAMES)
            variance = own_share * style.spread**2 + (1 - own_share) * self.neutral_spread**2
            own_mean = style.mean
            spread = variance.sqrt().clamp(low * self.neutral_spread, high * self.neutral_spread)
        neutral = self.neutral_mean - self.neutral_closed
        mean = torch.lerp(style.closed + neutral, own_mean, own_share)
        opening, usual = (mean - style.closed) @ self.opening_axis, neutral @ self.opening_axis
        limited = torch.clamp(opening, low * usual, high * usual)
        return style.closed, mean + (limited - opening) * self.closing_direction, spread

    def expression(self, rows: torch.Tensor, gate: torch.Tensor, style: MouthStyle | None = None) -> torch.Tensor:
        """Lower expression [T, E] of a style at `LABEL_RATE`, from rows [T, INPUTS] and gate [T]."""
        return self.shaped(self.displacement(rows, style), rows, gate, style)

    def shaped(
        self, displacement: torch.Tensor, rows: torch.Tensor, gate: torch.Tensor, style: MouthStyle | None
    ) -> torch.Tensor:
        """Lower expression [T, E] of a displacement [T, E]: at rest where the gate [T] is shut, closed at p b m."""
        closed, mean, spread = self.blended(style)
        return self.with_closures(torch.lerp(closed, mean + spread * displacement, gate[:, None]), closed, mean, rows)

    def with_closures(
        self, lower: torch.Tensor, closed: torch.Tensor, mean: torch.Tensor, rows: torch.Tensor
    ) -> torch.Tensor:
        """Bring the lips together where the encoder hears p b m, and near where it hears f v; they do not pass through.

        What opening is too much over `closed` [E] is taken from `lower` [T, E], along the way in which mouths close.
        """
        opening = (lower - closed) @ self.opening_axis
        near = LABIODENTAL_OPENING * (mean - closed) @ self.opening_axis
        kept = opening.clamp(min=0)
        kept = torch.lerp(kept, torch.minimum(kept, near), lips_near(rows, LABIODENTAL))
        kept = kept * (1 - lips_near(rows, CLOSED))
        return lower - (opening - kept)[:, None] * self.closing_direction

    def predict(
        self,
        sound: str | Path | np.ndarray,
        timestamps: np.ndarray,
        style: MouthStyle | None = None,
        encoder: PhoneticEncoder | None = None,
    ) -> Motion:
        """Motion of a mouth speaking a sound.

        Args:
            sound: a media file, or a waveform [N] at `SAMPLE_RATE`.
            timestamps: float64 [T] seconds on the sound's clock, strictly increasing: the frames to be driven.
            style: of the actor; the average person where not given.
            encoder: phonetic encoder; the shipped one where not given.

        Returns:
            Motion at `timestamps`; before and after the sound the mouth is closed and the confidence 0.

        Raises:
            FootageError: the file cannot be read or has no sound.
        """
        waveform = sound if isinstance(sound, np.ndarray) else read_waveform(sound)
        rows, _ = input_rows(encoder or shipped_phonetics(), features(waveform))
        rows = torch.cat([silent_rows(BEYOND_ROWS), rows, silent_rows(BEYOND_ROWS)])
        if self.front_end is not None:
            beyond = BEYOND_ROWS * SAMPLE_RATE // LABEL_RATE
            rows = torch.cat([rows, self.front_end.columns(np.pad(waveform, beyond))], 1)
        expression = self.expression(rows, speech_gate(rows[:, : len(CLASSES)]), style)
        closed, _, _ = self.blended(style)
        times = (np.arange(len(expression)) - BEYOND_ROWS) / LABEL_RATE
        inside = (timestamps >= 0) & (timestamps <= len(waveform) / SAMPLE_RATE)
        sampled = np.stack([np.interp(timestamps, times, axis) for axis in expression.T.numpy()], 1)
        lower = np.where(inside[:, None], sampled, closed.numpy())
        return Motion(
            torch.from_numpy(np.asarray(timestamps, np.float64)),
            torch.from_numpy(lower.astype(np.float32)),
            torch.from_numpy(inside.astype(np.float32)),
        )

    def save(self, path: Path, facts: dict[str, object]) -> None:
        """Write half-precision weights with `facts` about the training."""
        tensors = {name: value.half() for name, value in self.state_dict().items()}
        front_end = {} if self.front_end is None else {"front_end": self.front_end.facts}
        save_tensors(path, KIND, KIND_VERSION, tensors, {**facts, **front_end, "config": asdict(self.config)})


def load_motion_model(path: Path | None = None) -> MotionModel:
    """The model from `path` (default: the shipped weights), in evaluation mode, float32, on the CPU.

    Raises:
        StoreError, StoreVersionError: the file or its front end is missing or foreign, or of another version.
    """
    path = WEIGHTS if path is None else path
    tensors, facts = load_tensors(path, KIND, KIND_VERSION)
    weights = {name: value.float() for name, value in tensors.items()}
    own = {name: value for name, value in weights.items() if not name.startswith(FRONT_END)}
    sizes = facts.get("config")
    if isinstance(sizes, dict) and sizes.get("front_end") == 0:
        sizes = {name: size for name, size in sizes.items() if name != "front_end"}
    model = stored_network(lambda **sizes: MotionModel(MotionConfig(**sizes)), sizes, own, path, ["neutral_spread"])
    if "front_end" in facts:
        model.front_end = recalled_front_end(facts["front_end"], path)
    refuse_others(model, weights, path)
    model.load_state_dict(weights)
    along = float(model.closing_direction @ model.opening_axis)
    if along > 0:  # 1 but for what half precision took: lips would pass through each other by as much
        model.closing_direction /= along
    return model.eval()


@cache
def shipped_motion_model() -> MotionModel:
    """The shipped model, read once a process."""
    return load_motion_model()


def sound_rows(encoder: PhoneticEncoder, sound: Features) -> tuple[torch.Tensor, torch.Tensor]:
    """Which speech sounds are heard, and how; what is no voice is heard as silence.

    Returns:
        rows float32 [T, SOUND_INPUTS] at `LABEL_RATE` (posteriors, prosody) and gate float32 [T] in [0, 1], see
        `speech_gate`.
    """
    rows, gate, _ = _heard(encoder, sound)
    return rows, gate


def input_rows(encoder: PhoneticEncoder, sound: Features) -> tuple[torch.Tensor, torch.Tensor]:
    """What the network reads of a sound; what is no voice is heard as silence.

    Returns:
        rows float32 [T, INPUTS] at `LABEL_RATE` (`sound_rows`, roots of the posteriors, columns of the lip encoder) and
        gate float32 [T] in [0, 1], see `speech_gate`.
    """
    rows, gate, voiced = _heard(encoder, sound)
    ear = shipped_lip_encoder()
    return _widened(rows, torch.lerp(ear.silent, lip_columns(ear, encoder, sound.mel), voiced[:, None])), gate


def _heard(encoder: PhoneticEncoder, sound: Features) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Of `sound_rows`, and how surely there is a voice [T]."""
    phonetic = posteriors(encoder, sound.mel)
    voiced = voice(shipped_voice(), sound.mel, phonetic)
    phonetic = silenced(phonetic, voiced)
    prosody = sound.prosody[:: FRAME_RATE // LABEL_RATE][: len(phonetic)]
    return torch.cat([phonetic, prosody], 1), speech_gate(phonetic), voiced


def silent_rows(count: int) -> torch.Tensor:
    """Rows [count, INPUTS] of silence: no sound, no energy."""
    rows = torch.zeros(count, SOUND_INPUTS)
    rows[:, SILENCE], rows[:, len(CLASSES) + PROSODY.index("energy")] = 1.0, -1.0
    return _widened(rows, shipped_lip_encoder().silent.expand(count, -1))


def _widened(rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    return torch.cat([rows, rows[:, : len(CLASSES)].clamp(min=0).sqrt(), columns], 1)


def smoothed(series: torch.Tensor) -> torch.Tensor:
    """A series [T, D] without what alternates from row to row, earlier by `LATE_ROWS`: each row with its neighbours."""
    around = torch.cat([series[:1], series, series[-1:]])
    return ((1 - 2 * LATE_ROWS) * around[:-2] + 2 * around[1:-1] + (1 + 2 * LATE_ROWS) * around[2:]) / 4
