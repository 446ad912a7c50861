"""One frozen dataclass per command is its interface: flags, config file and `key=value` overrides resolve into it.

A field made by `option` or `argument` carries its help, unit and flags; its default stands only there. On the
command line a flag that is not given leaves the value to `key=value`, then to `--config FILE`, then to the default.
"""

import dataclasses
import difflib
import json
import math
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast, get_type_hints

import yaml
from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from render.errors import ConfigError
from render.text import read_text

Config = TypeVar("Config")
#: What a setting can name: a file or folder (or a word in its place); files with `=` between; a command line.
FILE, FILES_OF, COMMAND = "file", "files with = between", "command"
NAMES, UNLESS = "names", "unless"
#: How like a word must be to be offered in place of another, of 1.
NEAR = 0.7


def _field(default: Any, metadata: dict[str, Any]) -> Any:
    if isinstance(default, list):
        return dataclasses.field(default_factory=lambda: list(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def argument(help: str, default: Any = MISSING, names: str = "") -> Any:
    """A positional argument of a command; required unless it has a default (a list takes any number)."""
    return _field(default, {"help": help, "flags": (), "positional": True, NAMES: names})


def option(default: Any, help: str, *flags: str, names: str = "", unless: str = "") -> Any:
    """An option of a command. `flags` default to `--field-name`; the help says the unit.

    `names` says what of the user's own is named by the value, where anything is: `FILE`, `FILES_OF` or `COMMAND`.
    `unless` is a setting with which a required text may be left out; it is empty then.
    """
    return _field(default, {"help": help, "flags": flags, "positional": False, NAMES: names, UNLESS: unless})


def resolve(
    config_type: type[Config],
    given: Mapping[str, Any] | None = None,
    overrides: Sequence[str] = (),
    file: Path | None = None,
) -> Config:
    """Merge defaults, a YAML file, `key=value` overrides and given values, later ones winning, into a config.

    Raises:
        ConfigError: unknown key, wrong type, a number that is none, missing required value, unreadable file, or one
            with templates (`${…}`).
    """
    values = {key: value for key, value in (given or {}).items() if value is not None}
    # Names of files, which are no templates: neither `${…}` nor `???` means anything in them.
    texts = {key: value for key, value in values.items() if _is_text(value)}
    merged_type: Any = config_type
    try:
        merged: Any = OmegaConf.structured(config_type)
        OmegaConf.set_readonly(merged, False)
        layers: list[Any] = []
        if file is not None:
            layers.append(_read_file(file))
        layers.append(OmegaConf.from_dotlist([_literal(word) for word in overrides]))
        layers.append(OmegaConf.create({key: value for key, value in values.items() if key not in texts}))
        merged = OmegaConf.merge(merged, *layers)
        for item in dataclasses.fields(merged_type):
            if (unless := item.metadata.get(UNLESS)) and merged[unless] and OmegaConf.is_missing(merged, item.name):
                merged[item.name] = ""
        missing = OmegaConf.missing_keys(merged) - set(texts)
        if missing:
            told = ", ".join(_as_given(item) for item in dataclasses.fields(merged_type) if item.name in missing)
            raise ConfigError(f"missing: {told} (see --help)")
        for key, value in texts.items():
            merged[key] = [] if isinstance(value, list) else ""
        config = dataclasses.replace(cast(Any, OmegaConf.to_object(merged)), **texts)
    except TypeError as error:  # of merging a list with what is none
        where = f"--config {file}" if file is not None else " ".join(overrides)
        raise ConfigError(f"{where}: a setting that is a list has no settings of its own ({error})") from error
    except OmegaConfBaseException as error:
        settings = ", ".join(get_type_hints(config_type))
        first = str(error).splitlines()[0]
        where = f"{error.full_key}: " if getattr(error, "full_key", None) else ""
        raise ConfigError(f"{where}{first} (settings are: {settings})") from error
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        where = f"--config {file}" if file is not None else " ".join(overrides)
        raise ConfigError(f"{where}: cannot be read as YAML ({_reason(error)})") from error
    _refuse_endless(config)
    return cast(Config, config)


def _as_given(item: dataclasses.Field[Any]) -> str:
    """How a setting is given on the command line: its shortest flag with what it is, or its name."""
    flags = item.metadata.get("flags", ())
    if item.metadata.get("positional", False) or not item.metadata:
        return item.name
    flag = min(flags or (f"--{item.name.replace('_', '-')}",), key=len)
    return f"{flag} {item.metadata['help']}"


def meant(word: str, choices: Sequence[str]) -> str | None:
    """The one of some words that a mistyped one was meant to be; None where it is like none of them."""
    near = difflib.get_close_matches(word.lower(), choices, 1, NEAR)
    return near[0] if near else None


def refuse_mistyped(flag: str, word: str | None, choices: Sequence[str]) -> None:
    """Raise `ConfigError` for a word that names no file, but nearly a word that may stand in a file's place."""
    if word is None or word in choices or Path(word).exists():
        return
    if near := meant(word, choices):
        raise ConfigError(f"{flag} {word}: no such file; did you mean {near}?")


def _is_text(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(entry, str) for entry in value))


def _literal(word: str) -> str:
    r"""A `key=value` word in which `${` stands for itself."""
    return re.sub(r"(\\*)\$\{", lambda found: 2 * found[1] + r"\${", word)


def _read_file(file: Path) -> Any:
    """The settings of a YAML file; raises `ConfigError` for one with templates, which could tell secrets."""
    text = read_text(file)
    if not isinstance(yaml.compose(text, yaml.SafeLoader), yaml.MappingNode | None):
        raise ConfigError(f"--config {file}: holds no settings; write one `setting: value` a line")
    layer = OmegaConf.create(text)
    if "${" in json.dumps(OmegaConf.to_container(layer, resolve=False), default=str):
        raise ConfigError(f"--config {file}: ${{…}} is not filled in; write the value itself, or pass it by its flag")
    return layer


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return str(error.strerror)
    return "nested too deeply" if isinstance(error, RecursionError) else str(error).splitlines()[0]


def _refuse_endless(config: Any) -> None:
    """Raise `ConfigError` for a number that is none, or infinite: no setting means anything by it."""
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        for number in value if isinstance(value, list) else [value]:
            if isinstance(number, float) and not math.isfinite(number):
                flag = (item.metadata["flags"] or (f"--{item.name.replace('_', '-')}",))[0]
                raise ConfigError(f"{flag} {number:g}: give a finite number")


def handed_on(config: Any) -> dict[str, Any]:
    """Settings as they are kept beside what they made: JSON-able, files by their names alone.

    Results are handed on, and nobody else is to read there in which folders somebody works.
    """
    kept = {}
    for item in dataclasses.fields(config):
        value, names = getattr(config, item.name), item.metadata.get(NAMES)
        if isinstance(value, list):
            kept[item.name] = [_without_folders(entry, names) for entry in value]
        else:
            kept[item.name] = _without_folders(value, names)
    return kept


def _without_folders(value: Any, names: str | None) -> Any:
    if isinstance(value, Path):
        return value.name
    if not isinstance(value, str) or not names:
        return value
    if names == COMMAND:
        return re.sub(r"(?<![^\s=:'\"])(?:~[^/\s]*|\.{1,2})?/(?:\S*/)?", "", value)
    return "=".join(Path(part).name for part in (value.split("=") if names == FILES_OF else [value]))


def refuse_below(flag: str, value: float | None, least: float) -> None:
    """Raise `ConfigError` for a number that is smaller, or none; None is no number to look at."""
    if value is not None and not (value >= least and math.isfinite(value)):
        raise ConfigError(f"{flag} {value:g}: give a number from {least:g} up")


def refuse_seed(seed: int) -> None:
    """Raise `ConfigError` for a seed that generators of random numbers do not take."""
    if not 0 <= seed < 1 << 63:
        raise ConfigError(f"--seed {seed}: give a whole number from 0 to 2^63 - 1")


def parse_range(text: str | None) -> tuple[float, float] | None:
    """`START-END` in seconds; raises `ConfigError`."""
    if text is None:
        return None
    try:
        start, end = (float(part) for part in text.split("-"))
    except ValueError as error:
        raise ConfigError(f"--range {text}: give START-END in seconds, such as 2.5-6") from error
    if not (math.isfinite(start) and math.isfinite(end)):
        raise ConfigError(f"--range {text}: give START-END in seconds, both finite, such as 2.5-6")
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
        if value == item.default or value == [] or (value == "" and UNLESS in item.metadata):
            continue
        for entry in value if isinstance(value, list) else [value]:
            words += [flag] if entry is True else [flag, str(entry)]
    return shlex.join(words)
