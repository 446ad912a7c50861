"""`adapt preview`: settings → one picture."""

from pathlib import Path

import torch

from adapt.actor.bundle import ActorBundle
from adapt.actor.renderer import adapted_renderer
from adapt.commands.flags import PreviewConfig
from adapt.dubbing.preview import LEAST_CONFIDENCE, PRIOR, choose_frames, preview
from adapt.progress import Progress
from adapt.reports.contact_sheet import contact_sheet, encode_image
from adapt.tracking.crop import read_crops
from adapt.tracking.track import track_footage
from prior.renderer.prior import RendererPrior, load_renderer_prior
from render.drawing.crop import CROP_SIZE
from render.errors import StoreError
from render.head.track import Track
from render.store import write_atomic
from render.video.footage import Footage
from render.video.media import timecode

ENCODED = 48


def main(config: PreviewConfig, progress: Progress) -> None:
    """Write the picture."""
    out = Path(config.out)
    if out.exists() and not config.overwrite:
        raise StoreError(f"{out}: exists already; choose another name or pass --overwrite")
    prior = load_renderer_prior()
    bundle = None if config.actor == PRIOR else ActorBundle.load(Path(config.actor), prior.facts["sha256"])
    footage = Footage(Path(config.video))
    advice = "the same command with --person 1"
    track = track_footage(footage, config.person, advice, progress).with_crop_size(CROP_SIZE)
    frames = choose_frames(track, config.at)
    if bundle is None:
        texture, renderer = encoded(prior, footage, track, progress), adapted_renderer(prior, {})
    else:
        texture, renderer = bundle.texture[None].float(), adapted_renderer(prior, bundle.delta)
    crops = read_crops(footage, track, frames, progress).float() / 255
    columns, pictures = preview(prior, renderer, texture, track, frames, crops, config.jaw)
    captions = [timecode(float(track.timestamps[frame])) for frame in frames]
    sheet = contact_sheet([list(row) for row in pictures], columns, captions)
    picture = encode_image(sheet, ".png")

    def write(temporary: Path) -> None:
        temporary.write_bytes(picture)

    write_atomic(out, write)
    progress.note(str(out))
    progress.result({"picture": str(out), "frames": frames.tolist()})


def encoded(prior: RendererPrior, footage: Footage, track: Track, progress: Progress) -> torch.Tensor:
    """Unadapted texture [1, C, H, W] from frames spread over the video."""
    sure = (track.confidence >= LEAST_CONFIDENCE).nonzero()[:, 0]
    known = sure[torch.linspace(0, len(sure) - 1, min(ENCODED, len(sure))).long()]
    crops = read_crops(footage, track, known, progress).float() / 255
    return prior.encode_texture((track, known, crops))
