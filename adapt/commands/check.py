"""`adapt check`: settings → findings, printed and written."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from adapt.cache import Found
from adapt.cast.sheet import cast_sheet
from adapt.cast.suitability import BACKENDS, backend_of, check_footage
from adapt.commands.flags import CheckConfig
from adapt.output import refuse_files, refuse_unwritable, write_settings
from adapt.progress import Progress
from adapt.reports.contact_sheet import encode_image
from render.errors import ConfigError
from render.store import write_bytes, write_json
from render.video.reader import Footage

FINDINGS, SHEET, SETTINGS = "check.json", "cast.jpg", "config.json"


def main(config: CheckConfig, progress: Progress) -> None:
    """The command: print the findings; with `--out` also write them, the sheet and the settings into that folder."""
    out = Path(config.out) if config.out else None
    if out is not None:
        refuse_files(out, (FINDINGS, SHEET, SETTINGS), config.overwrite)
    if config.backend not in BACKENDS:
        raise ConfigError(f"--backend {config.backend}: is none of {', '.join(BACKENDS)}")
    if out is not None:
        refuse_unwritable(out / FINDINGS)
    footage = Footage(config.video, config.progressive)
    backend = None if config.backend == CheckConfig.backend else backend_of(config.backend)
    found = Found.of_user(not config.no_cache)
    findings, analysis = check_footage(footage, config.audio, backend, progress, found)
    for line in findings.lines():
        progress.say(line)
    value = asdict(findings)
    if out is not None:
        write_json(out / FINDINGS, _handed_on(value))
        write_settings(config, out / SETTINGS)
        if analysis.cast:
            write_bytes(out / SHEET, encode_image(cast_sheet(analysis)))
        else:
            (out / SHEET).unlink(missing_ok=True)  # of another video
        progress.note(f"written: {out}")
    progress.result(value)


def _handed_on(findings: dict[str, Any]) -> dict[str, Any]:
    """Findings with names of files in place of their paths."""
    sound = findings["audio"]
    named = sound and {**sound, "file": Path(sound["file"]).name}
    return {**findings, "video": Path(findings["video"]).name, "audio": named}
