"""Style of the mouth in a shot: what the bundle knows of the actor, refined by what the actor says in the shot itself.

In: the bundle's style, the shot, and which of its frames are to be dubbed to what. Out: the style, and what is told of
it. Where a shot is driven by its own sound, what is to be drawn is not learnt from.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from adapt.actor.bundle import ActorBundle
from adapt.fitting.style import own_sound, speech_in
from adapt.metrics.picture import correlation
from adapt.motion.sources import style_of
from prior.motion.model import WEIGHTS as MOTION_MODEL
from prior.motion.model import MotionModel, shipped_motion_model
from prior.motion.own_speech import LEAST_CONFIDENCE, heard_style
from prior.motion.style import MouthStyle
from prior.motion.sync import FRAME_RATE, shipped_sync_model
from prior.speech.features import frame_level_db
from render.head.face_model import FaceModel
from render.head.motion import Motion
from render.head.track import SURE_CONFIDENCE, Track
from render.store import file_sha256
from render.video.reader import Footage

#: Between frames that are to be dubbed to the shot's own sound and frames that are learnt from.
GAP_SECONDS = 1.0
#: Correlation of loudness above which two sounds are the same, whatever has encoded them; two of speech have under .6.
SAME_SOUND = 0.8
#: Frames of 1/25 s by which a shot's sound may be off its picture before that is told.
UNTOLD_LAG_FRAMES = 1
#: Correlation of the opening that a shot's own sound asks for with the source's, below which that is told.
LEAST_AGREEMENT = 0.2
#: Own speech below which it is told how little is known of the actor, voiced seconds.
LITTLE_SPEECH_SECONDS = 4.0
#: Rows of loudness before which nothing can be said, 10 ms each.
LEAST_ROWS = 50


@dataclass(frozen=True)
class ShotStyle:
    """A style of the mouth and what it was measured on, in words."""

    style: MouthStyle
    told: str


def style_in_shot(
    bundle: ActorBundle,
    footage: Footage,
    track: Track,
    spared: torch.Tensor,
    face_model: FaceModel,
    motion_model: MotionModel,
    own: np.ndarray | None = None,
) -> ShotStyle:
    """The style of an actor in a shot.

    Args:
        bundle: of the actor.
        footage: the shot.
        track: of the actor in the shot.
        spared: bool [T], frames that must not be learnt from, see `judged_frames`.
        face_model: of the track.
        motion_model: of audio to motion.
        own: the shot's own sound, where that was read before.

    Raises:
        DubError: the bundle has no style, and the face is seen in too few frames of the shot.
    """
    if not bundle.style:
        return ShotStyle(style_of(track, face_model), "from the shot, no own speech known")
    style, told = known_style(bundle, motion_model)
    speech = speech_in(footage, replace(track, confidence=track.confidence * ~spared), own)
    heard = heard_style(motion_model, style, [] if speech is None else [speech])
    return ShotStyle(style, told) if heard.style is style else ShotStyle(heard.style, f"{heard.told}, the shot's too")


def known_style(bundle: ActorBundle, motion_model: MotionModel) -> tuple[MouthStyle, str]:
    """The style that a bundle knows, which it must, and in words from what; own speech is of one motion model alone."""
    style, told = MouthStyle.of_tensors(bundle.style), str(bundle.facts.mouth.get("style", "from the bundle"))
    if style.speech is not None and motion_model is not shipped_motion_model():
        style, told = replace(style, speech=None), "from the bundle's frames; own speech is of the shipped motion model"
    elif style.speech is not None and bundle.facts.mouth.get("motion_model_sha256") != file_sha256(MOTION_MODEL):
        style = replace(style, speech=None)
        told = "from the bundle's frames; what it knows of own speech is of another motion model, fit the actor again"
    return style, told


def doubts(model: MotionModel, style: MouthStyle, motion: Motion, own: np.ndarray | None) -> list[str]:
    """Why a mouth dubbed to a sound may move in another way than the actor's would, one sentence each.

    Args:
        model: of audio to motion.
        style: of the actor, as used.
        motion: of the actor in the shot, on the clock of its sound; frames that do not matter have confidence 0.
        own: float32 [N] at `prior.speech.sound.SAMPLE_RATE`, all of the shot's own sound where that is what drives.
    """
    found = []
    seconds = 0.0 if style.speech is None else float(style.speech.seconds)
    if seconds < LITTLE_SPEECH_SECONDS:
        found.append(
            f"only {seconds:.1f} s of own speech tell how this actor's mouth moves, the rest is the average person's; "
            "footage of the actor with its sound, given to `adapt fit` as well, mends that"
        )
    if own is None:
        return found
    try:
        offset = shipped_sync_model().offset(motion, own)
    except ValueError:
        return found  # too short to be judged
    late = offset.lag_frames / FRAME_RATE
    if offset.confidence < LEAST_CONFIDENCE:
        found.append(
            f"sound and mouth of the shot hardly agree (sync confidence {offset.confidence:.1f}, most own speech has "
            f"{LEAST_CONFIDENCE:g} or more): another's voice, a mumbling or hidden mouth, or noise; a mouth dubbed to "
            "that sound moves in another way than the source's"
        )
    elif abs(offset.lag_frames) > UNTOLD_LAG_FRAMES:
        found.append(
            f"the shot's sound is {abs(late):.2f} s {'late' if late > 0 else 'early'} against the mouth in it; a mouth "
            f"dubbed to it follows the sound, and moves {'later' if late > 0 else 'earlier'} than the source's"
        )
    elif (unlike := _unlike(model, style, motion, own)) is not None:
        found.append(unlike)
    return found


def _unlike(model: MotionModel, style: MouthStyle, motion: Motion, own: np.ndarray) -> str | None:
    """What is told where a mouth opens in another way than its own sound has it open; None where it does not."""
    sure = motion.confidence >= SURE_CONFIDENCE
    asked = model.predict(own, motion.timestamps.numpy(), style).lower_expression[sure] @ model.opening_axis
    seen = motion.lower_expression[sure] @ model.opening_axis
    agreement = correlation(asked, seen)
    if not agreement < LEAST_AGREEMENT:  # nor where one does not move
        return None
    return (
        f"the source's mouth opens in another way than its own sound has it open (r {agreement:.2f}, what the sound "
        f"asks for is {float(asked.std() / seen.std().clamp(min=1e-6)):.1f} times as wide): mumbled, hidden or tracked "
        "badly, or unlike the footage that the style is of; the dub follows the sound"
    )


def judged_frames(
    footage: Footage,
    inside: torch.Tensor,
    timestamps: torch.Tensor,
    driving: np.ndarray,
    own: np.ndarray | None = None,
) -> torch.Tensor:
    """Frames bool [T] that are to be dubbed to the shot's own sound, or are near to such; none where another drives.

    Args:
        footage: the shot.
        inside: bool [T], frames that are to be dubbed.
        timestamps: [T] float64 seconds.
        driving: float32 [N] at `prior.speech.sound.SAMPLE_RATE`.
        own: the shot's own sound, where that was read before.
    """
    spared = torch.zeros_like(inside)
    if not bool(inside.any()):
        return spared
    own = own_sound(footage) if own is None else own
    if own is None or not is_same_sound(own, driving):
        return spared
    times = timestamps[inside]
    return (timestamps >= times[0] - GAP_SECONDS) & (timestamps <= times[-1] + GAP_SECONDS)


def is_same_sound(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether the shorter of two waveforms [N] is a part of the longer one, by its loudness."""
    levels: Sequence[torch.Tensor] = [frame_level_db(torch.from_numpy(sound)).clamp(min=-60) for sound in (one, other)]
    short, long = sorted(levels, key=len)
    if len(short) < LEAST_ROWS:
        return True  # nothing can be said: the careful answer
    long = torch.nn.functional.pad(long, (len(short) // 2, len(short) // 2), value=-60.0).double()
    short = (short - short.mean()).double()
    size = 1 << (len(long) + len(short)).bit_length()
    product = torch.fft.irfft(torch.fft.rfft(long, size) * torch.fft.rfft(short, size).conj(), size)
    product = product[: len(long) - len(short) + 1]
    total = torch.nn.functional.pad(torch.stack([long, long.square()]).cumsum(1), (1, 0))
    sums, squares = total[:, len(short) :] - total[:, : -len(short)]
    power = (squares - sums.square() / len(short)).clamp(min=1e-6) * short.square().sum().clamp(min=1e-6)
    return bool((product / power.sqrt()).max() >= SAME_SOUND)
