"""One frozen dataclass per command is its interface: flags, config file and `key=value` overrides resolve into it.

A field made by `option` or `argument` carries its help, unit and flags; its default stands only there. On the
command line a flag that is not given leaves the value to `key=value`, then to `--config FILE`, then to the default.
"""

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast, get_type_hints

from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from render.errors import ConfigError

Config = TypeVar("Config")


def _field(default: Any, metadata: dict[str, Any]) -> Any:
    if isinstance(default, list):
        return dataclasses.field(default_factory=lambda: list(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def argument(help: str, default: Any = MISSING) -> Any:
    """A positional argument of a command; required unless it has a default (a list takes any number)."""
    return _field(default, {"help": help, "flags": (), "positional": True})


def option(default: Any, help: str, *flags: str) -> Any:
    """An option of a command. `flags` default to `--field-name`; the help says the unit."""
    return _field(default, {"help": help, "flags": flags, "positional": False})


def resolve(
    config_type: type[Config],
    given: Mapping[str, Any] | None = None,
    overrides: Sequence[str] = (),
    file: Path | None = None,
) -> Config:
    """Merge defaults, a YAML file, `key=value` overrides and given values, later ones winning, into a config.

    Raises:
        ConfigError: unknown key, wrong type, missing required value, unreadable file.
    """
    try:
        merged = OmegaConf.structured(config_type)
        OmegaConf.set_readonly(merged, False)
        layers: list[Any] = []
        if file is not None:
            layers.append(OmegaConf.load(file))
        layers.append(OmegaConf.from_dotlist(list(overrides)))
        layers.append(OmegaConf.create({key: value for key, value in (given or {}).items() if value is not None}))
        merged = OmegaConf.merge(merged, *layers)
        missing = OmegaConf.missing_keys(merged)
        if missing:
            raise ConfigError(f"missing: {', '.join(sorted(missing))} (see --help)")
        return cast(Config, OmegaConf.to_object(merged))
    except OmegaConfBaseException as error:
        settings = ", ".join(get_type_hints(config_type))
        first = str(error).splitlines()[0]
        raise ConfigError(f"{first} (settings are: {settings})") from error
    except (OSError, UnicodeError, YAMLError) as error:
        where = f"--config {file}" if file is not None else " ".join(overrides)
        raise ConfigError(f"{where}: cannot be read as YAML ({str(error).splitlines()[0]})") from error


def parse_range(text: str | None) -> tuple[float, float] | None:
    """`START-END` in seconds; raises `ConfigError`."""
    if text is None:
        return None
    try:
        start, end = (float(part) for part in text.split("-"))
    except ValueError as error:
        raise ConfigError(f"--range {text}: give START-END in seconds, such as 2.5-6") from error
    if end <= start:
        raise ConfigError(f"--range {text}: the end must be after the start")
    return start, end


def command_line(command: str, config: Any, **changed: object) -> str:
    """The command that a config stands for, for a message that tells what to run."""
    words = ["adapt", command]
    for item in dataclasses.fields(config):
        value = changed.get(item.name, getattr(config, item.name))
        if item.metadata["positional"]:
            words += [] if value is None else [str(value)]
            continue
        flag = (item.metadata["flags"] or (f"--{item.name.replace('_', '-')}",))[-1]
        if value == item.default or value == []:
            continue
        for entry in value if isinstance(value, list) else [value]:
            words += [flag] if entry is True else [flag, str(entry)]
    return shlex.join(words)
