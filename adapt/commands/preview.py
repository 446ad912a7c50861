"""`adapt preview`: settings → one picture."""

from pathlib import Path
from typing import Any

from adapt.commands.flags import PreviewConfig
from adapt.config import parse_range
from adapt.dubbing.options import DubOptions
from adapt.dubbing.preview import Preview, preview, preview_dub
from adapt.motion.sources import driver_of_sound
from adapt.output import refuse_existing, refuse_unwritable
from adapt.progress import Progress
from adapt.reports.contact_sheet import encode_image
from render.errors import ConfigError
from render.store import write_bytes
from render.video.container import timecode

#: In place of an actor bundle: the unadapted renderer.
PRIOR = "prior"
#: What a picture may be written as.
PICTURES = ".png", ".jpg", ".jpeg"


def main(config: PreviewConfig, progress: Progress) -> None:
    """Write the picture."""
    out = Path(config.out)
    picture_suffix(out)
    refuse_existing(out, config.overwrite)
    refuse_unwritable(out)
    grid = _drawn(config, progress)
    write_bytes(out, encode_image(grid.sheet(), picture_suffix(out)))
    for time, name, told in zip(grid.times, grid.names, grid.told, strict=False):
        progress.note(f"{timecode(time)} {name}: {told}")
    progress.note(str(out))
    progress.result({"picture": str(out), "frames": grid.frames, "names": grid.names, "told": grid.told})


def picture_suffix(out: Path) -> str:
    """As what a picture is written, by its name; raises `ConfigError` for a name of another kind."""
    if out.suffix.lower() not in PICTURES:
        raise ConfigError(f"{out}: a picture is written; give a name that ends in .png, .jpg or .jpeg")
    return out.suffix.lower()


def _drawn(config: PreviewConfig, progress: Progress) -> Preview:
    """The pictures; raises `ConfigError` for settings that mean nothing."""
    if config.audio is None:
        actor = None if config.actor == PRIOR else Path(config.actor)
        settings: dict[str, Any] = {"progressive": config.progressive, "progress": progress}
        return preview(actor, config.video, config.person, config.at, config.jaw, **settings)
    if config.actor == PRIOR:
        raise ConfigError("with AUDIO, give an actor bundle in place of `prior`; `adapt fit` makes one")
    options = DubOptions(
        part=parse_range(config.range),
        mouth=config.mouth,
        region=config.region,
        on_mismatch="trim",
        progressive=config.progressive,
    )
    driver = driver_of_sound(config.audio)
    return preview_dub(config.actor, config.video, driver, config.person, config.at, options, progress=progress)
