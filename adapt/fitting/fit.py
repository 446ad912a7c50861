"""`adapt fit`: a few seconds of an actor's footage become an actor bundle.

In: footage of the actor. Each clip is tracked, frames are chosen to learn from and to be judged on
(`adapt.fitting.enrollment`), the prior's encoder gives a first texture, `adapt.fitting.optimiser` adapts it. Out: an
`ActorBundle`, and what its contact sheet and report are drawn from.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch

from adapt.actor.bundle import ActorBundle
from adapt.actor.renderer import adapted_renderer
from adapt.cache import code_sha256
from adapt.cast.resemblance import describe
from adapt.commands.flags import FitConfig
from adapt.fitting.clear_frames import LEAST_CLEAR, clear_frames
from adapt.fitting.clip import FitClip, clip_inputs
from adapt.fitting.enrollment import ChosenFrames, choose_enrollment, describe_enrollment
from adapt.fitting.optimiser import optimise
from adapt.fitting.state import FitState
from adapt.progress import SILENT, Progress
from adapt.tracking.crop import read_crops
from adapt.tracking.track import track_footage
from prior.face.model import WEIGHTS as FACE_MODEL
from prior.motion.style import LEAST_STYLE_FRAMES, mouth_style
from prior.renderer.prior import RendererPrior, load_renderer_prior
from prior.shipped import TERMS
from render.drawing.crop import CROP_SIZE
from render.drawing.renderer import RenderOutput, draw
from render.errors import FitError
from render.head.track import Track
from render.store import file_sha256
from render.video.footage import Footage

#: Frames that are drawn at once for scores and report.
DRAWN_AT_ONCE = 4


@dataclass(frozen=True)
class Fitted:
    """A fit, before it is written.

    Attributes:
        bundle: what is written.
        clips: what it was learnt from and judged on.
        unadapted: [1, C, H, W] texture before any step.
        state: last state of the optimisation.
    """

    bundle: ActorBundle
    clips: list[FitClip]
    unadapted: torch.Tensor
    state: FitState


def fit(
    footage: Sequence[Path],
    name: str,
    person: int | None = None,
    seconds: float | None = None,
    part: tuple[float, float] | None = None,
    steps: int = FitConfig.steps,
    minutes: float | None = None,
    consent: dict[str, str] | None = None,
    seed: int = 0,
    checkpoint: Path | None = None,
    resume: bool = False,
    prior: RendererPrior | None = None,
    progress: Progress = SILENT,
    tracks: Sequence[Track] | None = None,
    device: str = "cpu",
) -> Fitted:
    """Fit one actor.

    Args:
        footage: video files that show the actor.
        name: of the actor, for people.
        person: cast number in each file (see `adapt check`); needed where several people are seen.
        seconds: how much footage to learn from; None for all there is.
        part: (start, end) seconds of each file to use.
        steps: optimiser steps. The same steps, footage and seed give the same bundle.
        minutes: stop optimising after so many minutes.
        consent: consent record to keep in the bundle.
        seed: of the choice of frames and of noise.
        checkpoint: file to save progress to.
        resume: go on from the checkpoint if it is there.
        prior: renderer prior; default the shipped one.
        progress: where the bar goes.
        tracks: of the person in each file, where they are known already.
        device: where the network learns, such as cpu or cuda.

    Raises:
        FootageError, TrackingError, FitError: the footage cannot be used; says what is missing.
    """
    prior = prior or load_renderer_prior()
    files = [Footage(file) for file in footage]
    names = [file.path.name for file in files]
    tracks = tracks or [track_footage(file, person, "the same command with --person 1", progress) for file in files]
    tracks = [limit(track.with_crop_size(CROP_SIZE), part) for track in tracks]
    enrollment = choose_enrollment(prior.model, tracks, names, seconds)
    chosen = zip(files, tracks, enrollment.learn, enrollment.held_out, strict=True)
    used = {
        number: without_occluders(prior, _clip(*item, progress), progress)
        for number, item in enumerate(chosen)
        if len(item[2])
    }
    for number, clip in used.items():
        enrollment.learn[number], enrollment.held_out[number] = clip.frames[clip.learn], clip.frames[clip.held_out]
    enrollment = describe_enrollment(prior.model, tracks, enrollment.learn, enrollment.held_out)
    clips = list(used.values())
    texture = first_texture(prior, clips)
    sources = [{**track.source, "frames": len(rows)} for track, rows in zip(tracks, enrollment.learn, strict=True)]
    identity = {
        "sources": sources,
        "frames": [[clip.frames[rows].tolist() for rows in (clip.learn, clip.held_out)] for clip in clips],
        "steps": steps,
        "seed": seed,
        "prior": prior.facts["sha256"],
        "face_model": file_sha256(FACE_MODEL),
        "code": code_sha256("adapt.fitting.fit"),
    }
    state = optimise(
        prior,
        clips,
        texture,
        steps,
        seed,
        None if minutes is None else minutes * 60,
        (checkpoint, identity) if checkpoint else None,
        resume,
        progress,
        device,
    )
    facts = _facts(enrollment, state, seed, consent)
    best = {key: value for key, value in state.best.items() if key != "texture"}
    bundle = ActorBundle(
        name,
        state.best.get("texture", texture)[0],
        best,
        _style(prior, tracks, enrollment),
        prior.facts["sha256"],
        sources,
        enrollment.pose_range,
        facts,
        _appearance(prior, clips),
    )
    return Fitted(bundle, clips, texture, state)


def limit(track: Track, part: tuple[float, float] | None) -> Track:
    """The same track, with confidence 0 outside `part` (seconds from the first frame)."""
    if part is None:
        return track
    time = track.timestamps - track.timestamps[0]
    inside = (time >= part[0]) & (time < part[1])
    if not bool(inside.any()):
        name = track.source.get("file", "the footage")
        raise FitError(f"--range {part[0]:g}-{part[1]:g}: outside {name}, which is {float(time[-1]):.2f} s long")
    return replace(track, confidence=track.confidence * inside)


def first_texture(prior: RendererPrior, clips: Sequence[FitClip]) -> torch.Tensor:
    """The unadapted texture [1, C, H, W], from the frames to learn from."""
    parts = [(clip.track, clip.frames[clip.learn], clip.crops[clip.learn].float() / 255) for clip in clips]
    return prior.encode_texture(*parts)


def _clip(footage: Footage, track: Track, learn: torch.Tensor, held_out: torch.Tensor, progress: Progress) -> FitClip:
    frames = torch.cat([learn, held_out])
    crops = read_crops(footage, track, frames.tolist(), progress)
    rows = torch.arange(len(frames))
    return FitClip(track, frames, crops, rows[: len(learn)], rows[len(learn) :])


def without_occluders(prior: RendererPrior, clip: FitClip, progress: Progress = SILENT) -> FitClip:
    """The clip without the frames in which something lies in front of the lower face, if enough are left; says so."""
    rows = torch.cat([clip.learn, clip.held_out])
    clear = clear_frames(prior.model, clip.track, clip.frames[rows], clip.crops[rows])
    covered, name = int((~clear).sum()), clip.track.source.get("file", "footage")
    if not covered:
        return clip
    count = len(clip.learn)
    learn, held_out = clip.learn[clear[:count]], clip.held_out[clear[count:]]
    if len(learn) < LEAST_CLEAR * count:
        progress.note(
            f"{name}: in {covered} of {len(clear)} frames something seems to lie in front of the mouth (a hand, a "
            "microphone, changing light); too many to leave out, so they are learnt from: choose footage that shows "
            "the mouth, by --range or another file"
        )
        return clip
    progress.note(f"{name}: {covered} of {len(clear)} frames left out, something lies in front of the mouth")
    return replace(clip, learn=learn, held_out=held_out if len(held_out) else clip.held_out)


def _style(prior: RendererPrior, tracks: Sequence[Track], enrollment: ChosenFrames) -> dict[str, torch.Tensor]:
    """The actor's mouth style from the frames learnt from; empty where they are too few."""
    track, rows = max(zip(tracks, enrollment.learn, strict=True), key=lambda pair: len(pair[1]))
    learnt = torch.zeros_like(track.confidence)
    learnt[rows] = track.confidence[rows]
    if len(rows) < LEAST_STYLE_FRAMES:
        return {}
    return vars(mouth_style(replace(track, confidence=learnt), prior.model))


def _appearance(prior: RendererPrior, clips: Sequence[FitClip]) -> dict[str, torch.Tensor]:
    """What the actor looks like in the clip with most frames to learn from."""
    clip = max(clips, key=lambda clip: len(clip.learn))
    return describe(prior.model, clip.track, clip.frames[clip.learn], clip.crops[clip.learn])


def _facts(enrollment: ChosenFrames, state: FitState, seed: int, consent: dict[str, str] | None) -> dict[str, Any]:
    return {
        "seconds": round(enrollment.seconds, 3),
        "steps": state.step,
        "seed": seed,
        "adapted": bool(state.best),
        "held_out_loss": {
            "unadapted": state.unadapted_loss,
            "adapted": state.best_loss if state.best else state.unadapted_loss,
        },
        "never_seen": enrollment.never_seen,
        "consent": consent,
        "terms": TERMS,
    }


def draw_clip(
    prior: RendererPrior,
    texture: torch.Tensor,
    delta: dict[str, torch.Tensor],
    clip: FitClip,
    rows: torch.Tensor,
    advance: Callable[[int], None] = lambda count: None,
) -> RenderOutput:
    """Re-render rows [N] of a clip from their own tracked motion.

    Args:
        prior: renderer prior.
        texture: [1, C, H, W].
        delta: of the renderer; empty for the prior's own.
        clip: where the frames are from.
        rows: int64, rows of `clip.frames`.
        advance: told how many frames were drawn.
    """
    renderer = adapted_renderer(prior, delta)
    parts = []
    for part in rows.split(DRAWN_AT_ONCE):
        parts.append(draw(renderer, texture, clip_inputs(prior, clip, part)))
        advance(len(part))
    names = [item.name for item in fields(RenderOutput)]
    return RenderOutput(**{name: torch.cat([getattr(part, name) for part in parts]) for name in names})
