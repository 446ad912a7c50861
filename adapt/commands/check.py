"""`adapt check`: settings → findings, printed and written."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from adapt.cast.sheet import cast_sheet
from adapt.cast.suitability import BACKENDS, check_footage
from adapt.commands.flags import CheckConfig
from adapt.config import write_config
from adapt.progress import Progress
from adapt.reports.contact_sheet import encode_image
from render.errors import ConfigError
from render.store import write_atomic, write_json
from render.video.footage import Footage


def main(config: CheckConfig, progress: Progress) -> None:
    """The command: print the report; with `--out` also write check.json, cast.jpg and the settings into that folder."""
    out = Path(config.out) if config.out else None
    names = ("check.json", "cast.jpg", "config.json")
    if out is not None:
        _refuse_existing(out, names, config.overwrite)
    if config.backend not in BACKENDS:
        raise ConfigError(f"--backend {config.backend}: is none of {', '.join(BACKENDS)}")
    footage = Footage(config.video)
    report, analysis = check_footage(footage, config.audio, BACKENDS[config.backend](), progress)
    for line in report.lines():
        progress.say(line)
    value = asdict(report)
    if out is not None:
        write_json(out / "check.json", value)
        write_config(config, out / "config.json")
        if analysis.cast:
            data = encode_image(cast_sheet(analysis))
            write_atomic(out / "cast.jpg", lambda path: _write_bytes(path, data))
        else:
            (out / "cast.jpg").unlink(missing_ok=True)  # of another video
        progress.note(f"written: {out}")
    progress.result(value)


def _write_bytes(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _refuse_existing(folder: Path, names: Sequence[str], overwrite: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"--out {folder}: is a file, not a folder")
    there = [name for name in names if (folder / name).exists()]
    if there and not overwrite:
        raise ConfigError(f"--out {folder}: {', '.join(there)} exist there; choose another folder or add --overwrite")
