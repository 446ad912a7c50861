"""`adapt keys`: settings → the table of a mouth's keys."""

from pathlib import Path

from adapt.commands.flags import KeysConfig
from adapt.config import command_line, parse_range
from adapt.dubbing.dub import keys
from adapt.dubbing.options import DubOptions
from adapt.dubbing.part import Request
from adapt.motion.keys import write_keys
from adapt.motion.sources import Sound
from adapt.output import refuse_existing
from adapt.progress import Progress


def main(config: KeysConfig, progress: Progress) -> None:
    """Write the table."""
    out = Path(config.out)
    refuse_existing(out, config.overwrite, "table (.csv)", out.suffix == ".csv")
    options = DubOptions(
        part=parse_range(config.range),
        audio_offset=config.audio_offset,
        on_mismatch=config.on_mismatch,
        keep_found=not config.no_cache,
        progressive=config.progressive,
        anyway=config.anyway,
    )
    request = Request(Sound(Path(config.audio)), Path(config.actor) if config.actor else None, config.person)
    advice = f"{command_line('keys', config)} --person 1"
    found = keys(config.video, request, options, advice=advice, progress=progress)
    write_keys(out, found)
    progress.result({"keys": str(out), "count": len(found)})
    progress.note(f"{out}: {len(found)} keys; edit opening, width or rounding, then `adapt dub --keys {out}`")
