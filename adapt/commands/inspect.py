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
                lines += [f"{space}{_one_line(key)}:", *_lines(entry, indent + 1)]
            else:
                lines.append(f"{space}{_one_line(key)}: {_one_line(entry) if entry not in ({}, []) else 'none'}")
        return lines
    if isinstance(value, list):
        if all(not isinstance(entry, (dict, list)) for entry in value):
            return [space + ", ".join(map(_one_line, value))]
        return [line for entry in value for line in _lines(entry, indent)]
    return [f"{space}{_one_line(value)}"]


def _one_line(value: Any) -> str:
    """A value without line ends, which in a tag could pass for another line of ours."""
    return " ".join(str(value).splitlines())


def main(config: InspectConfig, progress: Progress) -> None:
    """Print what is known."""
    inspection = inspect(config.path)
    facts = {"kind": inspection.kind, **inspection.facts}
    progress.say("\n".join(_lines(facts)))
    progress.result(facts)
