"""`adapt preview`: settings → one picture."""

from pathlib import Path

from adapt.commands.flags import PreviewConfig
from adapt.dubbing.preview import preview
from adapt.output import refuse_existing, refuse_unwritable
from adapt.progress import Progress
from adapt.reports.contact_sheet import encode_image
from render.store import write_bytes

#: In place of an actor bundle: the unadapted renderer.
PRIOR = "prior"


def main(config: PreviewConfig, progress: Progress) -> None:
    """Write the picture."""
    out = Path(config.out)
    refuse_existing(out, config.overwrite)
    refuse_unwritable(out)
    actor = None if config.actor == PRIOR else Path(config.actor)
    grid = preview(
        actor,
        config.video,
        config.person,
        config.at,
        config.jaw,
        progressive=config.progressive,
        progress=progress,
    )
    write_bytes(out, encode_image(grid.sheet(), ".png"))
    progress.note(str(out))
    progress.result({"picture": str(out), "frames": grid.frames})
