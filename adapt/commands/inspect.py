"""`adapt inspect`: what is known of a path, in lines."""

from typing import Any

from adapt.commands.flags import InspectConfig
from adapt.dubbing.provenance import inspect
from adapt.progress import Progress


def _lines(value: Any, indent: int = 0) -> list[str]:
    space = "  " * indent
    if isinstance(value, dict):
        lines = []
        for key, entry in value.items():
            if isinstance(entry, (dict, list)) and entry:
                lines += [f"{space}{key}:", *_lines(entry, indent + 1)]
            else:
                lines.append(f"{space}{key}: {entry if entry not in ({}, []) else 'none'}")
        return lines
    if isinstance(value, list):
        if all(not isinstance(entry, (dict, list)) for entry in value):
            return [space + ", ".join(str(entry) for entry in value)]
        return [line for entry in value for line in _lines(entry, indent)]
    return [f"{space}{value}"]


def main(config: InspectConfig, progress: Progress) -> None:
    """Print what is known."""
    inspection = inspect(config.path)
    facts = {"kind": inspection.kind, **inspection.facts}
    progress.say("\n".join(_lines(facts)))
    progress.result(facts)
