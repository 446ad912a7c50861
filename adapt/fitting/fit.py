"""`adapt fit`: a few seconds of an actor's footage become an actor bundle.

In: footage of the actor. Each clip is tracked, frames are chosen to learn from and to be judged on
(`adapt.fitting.frame_choice`), the prior's encoder gives a first look, `adapt.fitting.optimiser` adapts it. Out: an
`ActorBundle`, and what its contact sheet and report are drawn from.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch

from adapt.actor.bundle import ActorBundle, FitFacts
from adapt.actor.renderer import adapted_renderer
from adapt.cache import Found, code_sha256
from adapt.cast.resemblance import describe
from adapt.fitting.clip import FirstLook, FitClip, clip_inputs, first_look
from adapt.fitting.covered_frames import LEAST_CLEAR, clear_frames
from adapt.fitting.frame_choice import ChosenFrames, choose_enrollment, describe_enrollment
from adapt.fitting.native_detail import native_detail
from adapt.fitting.optimiser import optimise
from adapt.fitting.options import FitOptions
from adapt.fitting.state import Checkpoint, FitState
from adapt.fitting.style import mouth_facts, style_of_footage
from adapt.progress import SILENT, Progress
from adapt.tracking.crop import read_crops
from adapt.tracking.kept import track_footage
from prior.face.model import WEIGHTS as FACE_MODEL
from prior.renderer.prior import RendererPrior, load_renderer_prior
from prior.shipped import TERMS
from render.drawing.crop import CROP_SIZE
from render.drawing.look import Look
from render.drawing.renderer import RenderOutput, draw
from render.errors import FitError
from render.head.track import Track
from render.store import file_sha256
from render.video.container import timecode
from render.video.reader import Footage

#: Frames that are drawn at once for scores and report.
DRAWN_AT_ONCE = 4


@dataclass(frozen=True)
class Fitted:
    """A fit, before it is written.

    Attributes:
        bundle: what is written.
        clips: what it was learnt from and judged on.
        unadapted: look before any step.
        state: last state of the optimisation.
        options: how it was fitted.
        prior: that was fitted.
    """

    bundle: ActorBundle
    clips: list[FitClip]
    unadapted: FirstLook
    state: FitState
    options: FitOptions
    prior: RendererPrior


def fit(
    footage: Sequence[str | Path],
    name: str,
    options: FitOptions = FitOptions(),
    *,
    tracks: Sequence[Track] | None = None,
    checkpoint: Checkpoint | None = None,
    prior: RendererPrior | None = None,
    progress: Progress = SILENT,
) -> Fitted:
    """Fit one actor.

    Args:
        footage: video files that show the actor.
        name: of the actor, for people.
        options: how.
        tracks: of the person in each file, where they are known already.
        checkpoint: file to save progress to, and whether to go on from it.
        prior: renderer prior; default the shipped one.
        progress: where the bar goes.

    Raises:
        FootageError, TrackingError, FitError: the footage cannot be used; says what is missing.
    """
    prior = prior or load_renderer_prior()
    files = [Footage(file, options.progressive) for file in footage]
    if options.part:
        for file in files:
            _check_part(file, options.part, progress)
    advice = "the same command with --person 1"
    found = Found.of_user(options.keep_found)
    tracks = tracks or [track_footage(file, options.person, advice, progress, found) for file in files]
    tracks = [limit(track.with_crop_size(CROP_SIZE), options.part) for track in tracks]
    clips, enrollment = learnable_clips(prior, files, tracks, options.seconds, progress)
    first = first_look(prior, clips)
    # Each clip is of one file; files that nothing was chosen from have none.
    of_clips = [file for file, track in zip(files, tracks, strict=True) for clip in clips if clip.track is track]
    detail = native_detail(prior.model, of_clips, clips, first, progress)
    sources = [{**track.source, "frames": len(rows)} for track, rows in zip(tracks, enrollment.learn, strict=True)]
    if checkpoint is not None:
        checkpoint = replace(checkpoint, identity=_identity(prior, clips, sources, options))
    state = optimise(prior, clips, first, options, checkpoint, progress)
    adapted, heard = state.adapted, style_of_footage(prior.model, files, tracks)
    bundle = ActorBundle(
        name=name,
        texture=(first.look.texture if adapted is None else adapted.texture)[0],
        delta={} if adapted is None else adapted.delta,
        style={} if heard is None else heard.style.tensors,
        prior_sha256=prior.sha256,
        sources=sources,
        pose_range=enrollment.pose_range,
        facts=replace(_facts(enrollment, state, options), mouth=mouth_facts(heard)),
        appearance=_appearance(prior, clips),
        bank=first.look.bank.stored(),
        detail={} if detail is None else detail.stored(),
    )
    return Fitted(bundle, clips, first, state, options, prior)


def learnable_clips(
    prior: RendererPrior,
    files: Sequence[Footage],
    tracks: Sequence[Track],
    seconds: float | None,
    progress: Progress,
) -> tuple[list[FitClip], ChosenFrames]:
    """Choose frames to learn from and read them, without those in which something lies in front of the mouth.

    Args:
        prior: renderer prior.
        files: the footage.
        tracks: one a file, of the actor.
        seconds: how much footage to learn from; None for all there is.
        progress: where the bar goes.

    Returns:
        Clips of the files that any frame was chosen from, and what was chosen.
    """
    chosen = choose_enrollment(prior.model, tracks, [file.path.name for file in files], seconds)
    clips = {}
    for number, (file, track) in enumerate(zip(files, tracks, strict=True)):
        learn, held_out = chosen.learn[number], chosen.held_out[number]
        if len(learn):
            clip = without_occluders(prior, _clip(file, track, learn, held_out, progress), progress)
            chosen.learn[number], chosen.held_out[number] = clip.frames[clip.learn], clip.frames[clip.held_out]
            clips[number] = clip
    return list(clips.values()), describe_enrollment(prior.model, tracks, chosen.learn, chosen.held_out)


def _identity(
    prior: RendererPrior, clips: Sequence[FitClip], sources: list[dict[str, Any]], options: FitOptions
) -> dict[str, Any]:
    """All that decides the steps of a fit; a checkpoint of another one is refused."""
    return {
        "sources": sources,
        "frames": [[clip.frames[rows].tolist() for rows in (clip.learn, clip.held_out)] for clip in clips],
        "steps": options.steps,
        "seed": options.seed,
        "prior": prior.sha256,
        "face_model": file_sha256(FACE_MODEL),
        "code": code_sha256("adapt.fitting.fit"),
    }


def limit(track: Track, part: tuple[float, float] | None) -> Track:
    """The same track, with confidence 0 outside `part` (seconds from the first frame)."""
    if part is None:
        return track
    time = track.timestamps - track.timestamps[0]
    inside = (time >= part[0]) & (time < part[1])
    if not bool(inside.any()):
        name = track.source.get("file", "the footage")
        raise FitError(f"--range {part[0]:g}-{part[1]:g}: no frame of {name} lies in it; give a longer part")
    return replace(track, confidence=track.confidence * inside)


def _check_part(footage: Footage, part: tuple[float, float], progress: Progress) -> None:
    """Refuse a part that begins after the footage's end; say where one goes beyond it."""
    name, seconds = footage.path.name, footage.duration
    if part[0] >= seconds:
        raise FitError(f"--range {part[0]:g}-{part[1]:g}: outside {name}, which is {seconds:.2f} s long")
    if part[1] > seconds + 1 / footage.fps:
        told = f"--range {part[0]:g}-{part[1]:g} goes beyond its end at {timecode(seconds)}, and is used up to there"
        progress.note(f"{name}: {told}")


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


def _appearance(prior: RendererPrior, clips: Sequence[FitClip]) -> dict[str, torch.Tensor]:
    """What the actor looks like in the clip with most frames to learn from."""
    clip = max(clips, key=lambda clip: len(clip.learn))
    return describe(prior.model, clip.track, clip.frames[clip.learn], clip.crops[clip.learn])


def _facts(enrollment: ChosenFrames, state: FitState, options: FitOptions) -> FitFacts:
    kept = state.adapted is not None
    return FitFacts(
        seconds=round(enrollment.seconds, 3),
        steps=state.step,
        seed=options.seed,
        adapted=kept,
        held_out_loss={
            "unadapted": state.unadapted_loss,
            "adapted": state.best_loss if kept else state.unadapted_loss,
        },
        never_seen=enrollment.never_seen,
        consent=options.consent,
        terms=TERMS,
    )


def draw_clip(
    prior: RendererPrior,
    look: Look,
    delta: dict[str, torch.Tensor],
    clip: FitClip,
    rows: torch.Tensor,
    advance: Callable[[int], None] = lambda count: None,
) -> RenderOutput:
    """Re-render rows [N] of a clip from their own tracked motion.

    Args:
        prior: renderer prior.
        look: of the actor.
        delta: of the renderer; empty for the prior's own.
        clip: where the frames are from.
        rows: int64, rows of `clip.frames`.
        advance: called with the number of frames drawn.
    """
    renderer = adapted_renderer(prior, delta)
    parts = []
    for part in rows.split(DRAWN_AT_ONCE):
        parts.append(draw(renderer, look, clip_inputs(prior, clip, part)))
        advance(len(part))
    names = [item.name for item in fields(RenderOutput)]
    return RenderOutput(**{name: torch.cat([getattr(part, name) for part in parts]) for name in names})
