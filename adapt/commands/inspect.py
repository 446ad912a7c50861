"""`adapt inspect`: what is known of a path, in the lines that people read; machines are told all of it."""

from dataclasses import fields
from typing import Any

from adapt.commands.flags import DubConfig, InspectConfig
from adapt.dubbing.options import DubOptions
from adapt.dubbing.provenance import inspect
from adapt.progress import Progress

#: What only machines compare, beside hashes; and what is told of alone where it is not as it is by default.
FOR_MACHINES, SETTINGS = ("files", "computed_on"), "settings"
REST = "hashes, and settings that are as they are by default: --json"


def shortened(facts: dict[str, Any]) -> dict[str, Any]:
    """Facts as people read them: without hashes, and without settings that nobody chose."""
    told: dict[str, Any] = {}
    for key, value in facts.items():
        if value is None or key.endswith("sha256") or key in FOR_MACHINES:
            continue
        if key == SETTINGS and isinstance(value, dict):
            value = {name: entry for name, entry in value.items() if entry and not _is_default(name, entry)}
        elif isinstance(value, dict):
            value = shortened(value)
        elif isinstance(value, list):
            value = [shortened(entry) if isinstance(entry, dict) else entry for entry in value]
        told[key] = value
    return told


def _is_default(name: str, value: Any) -> bool:
    return any(item.name == name and item.default == value for kind in (DubConfig, DubOptions) for item in fields(kind))


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
    told = shortened(facts)
    progress.say("\n".join([*_lines(told), *([REST] if told != facts else [])]))
    progress.result(facts)
