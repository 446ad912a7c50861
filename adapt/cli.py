"""The `adapt` command: builds each subcommand from its config dataclass and turns named errors into one line.

`--config FILE.yaml` and `key=value` arguments set anything a flag can; `--json` prints machine-readable lines.
"""

import inspect
import io
import json
import os
import re
import signal
import sys
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from dataclasses import MISSING, Field, fields
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer
from omegaconf import MISSING as REQUIRED

from adapt.commands.flags import COMMANDS, EXAMPLES
from adapt.config import resolve
from adapt.progress import Bar, JsonLines
from render.errors import AdaptError, ConfigError
from render.text import shown

#: An import of our own that fails is a fault in here, and keeps its traceback.
PACKAGES = ("adapt", "prior", "render", "cuda_ext")
#: What ends a command, as Ctrl-C does: a scheduler or `kill`, and a closed terminal where the system has that.
ENDING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
OVERRIDE = re.compile(r"^[a-z][a-z0-9_]*(\.[a-z0-9_]+)*=")


def _optional(annotation: Any) -> Any:
    return annotation if type(None) in getattr(annotation, "__args__", ()) else annotation | None


def _parameters(config_type: type) -> list[inspect.Parameter]:
    hints = get_type_hints(config_type)
    parameters = []
    for field in fields(config_type):
        meta = field.metadata
        if meta["positional"]:
            declared = typer.Argument(help=meta["help"], metavar=field.name.upper(), show_default=False)
        else:
            flags = meta["flags"] or (f"--{field.name.replace('_', '-')}",)
            declared = typer.Option(*flags, help=_with_default(meta["help"], field), show_default=False)
        annotation: Any = Annotated[_optional(hints[field.name]), declared]
        parameters.append(
            inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        )
    return parameters


def _with_default(told: str, field: Field[Any]) -> str:
    """The help of an option with its default, where that says anything and is not told already."""
    default = field.default if field.default_factory is MISSING else field.default_factory()
    if default in (None, False, MISSING, REQUIRED) or default == [] or "default" in told:
        return told
    shown = ", ".join(map(str, default)) if isinstance(default, list) else default
    return f"{told} (default: {shown})"


def _command(name: str, config_type: type, overrides: list[str]) -> Callable[..., None]:
    def command(**given: Any) -> None:
        config_file = given.pop("config")
        progress = JsonLines() if given.pop("json_lines") else Bar()
        values = {key: value for key, value in given.items() if value not in (None, [], ())}
        config: Any = resolve(config_type, values, overrides, config_file)

        ended_by: list[int] = []

        def interrupt(number: int, _: Any) -> None:
            if ended_by and number != signal.SIGINT:
                return  # one is enough, what is half written is being removed
            ended_by.append(number)
            progress.cancel()
            raise KeyboardInterrupt

        # A command that was started to outlive its terminal (nohup) goes on doing so.
        heeded = [one for one in ENDING if one == signal.SIGINT or signal.getsignal(one) is not signal.SIG_IGN]
        before = {one: signal.signal(one, interrupt) for one in heeded}
        try:
            import_module("adapt.commands.arguments").main(config, progress)  # not loaded for --help
        except KeyboardInterrupt:  # here, because typer would end without a word
            with suppress(OSError):  # the terminal may be gone
                print("adapt: interrupted; nothing was left half written", file=sys.stderr)
            sys.exit(128 + (ended_by[0] if ended_by else signal.SIGINT))
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)

    shared = [
        inspect.Parameter(
            "config",
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[Path | None, typer.Option(help="YAML file of settings")],
        ),
        inspect.Parameter(
            "json_lines",
            inspect.Parameter.KEYWORD_ONLY,
            default=False,
            annotation=Annotated[bool, typer.Option("--json", help="print machine-readable lines")],
        ),
    ]
    signature = inspect.Signature([*_parameters(config_type), *shared])
    command.__signature__ = signature  # type: ignore[attr-defined]
    command.__annotations__ = {key: value.annotation for key, value in signature.parameters.items()}
    command.__name__ = name
    command.__doc__ = config_type.__doc__
    return command


def build_app(overrides: list[str]) -> typer.Typer:
    """The typer application; `overrides` are the `key=value` arguments already taken off the command line."""
    app = typer.Typer(
        add_completion=False,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        help="Dub actors in video from seconds of their footage.",
    )

    @app.callback()
    def root(
        version: Annotated[
            bool, typer.Option("--version", help="print the version and stop", callback=_print_version, is_eager=True)
        ] = False,
    ) -> None:
        """Dub actors in video from seconds of their footage."""

    for name, (config_type, _) in COMMANDS.items():
        lines = EXAMPLES.get(name, ())
        epilog = "\n\n".join(("Examples:", *lines)) if lines else None
        app.command(name, epilog=epilog)(_command(name, config_type, overrides))
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        try:
            print(f"adapt {version('adapt-dub')}")
        except PackageNotFoundError:
            print("adapt, not installed")
        raise typer.Exit


def split_overrides(words: list[str]) -> tuple[list[str], list[str]]:
    """The `key=value` words of a command line, and the rest; the value of a flag is no such word, nor is a file."""
    valued = {"--config"}
    for config_type, _ in COMMANDS.values():
        for field in fields(config_type):
            if not field.metadata["positional"] and get_type_hints(config_type)[field.name] is not bool:
                valued |= {*field.metadata["flags"], f"--{field.name.replace('_', '-')}"}
    overrides: list[str] = []
    rest: list[str] = []
    for before, word in zip(["", *words], words, strict=False):
        is_override = OVERRIDE.match(word) and before not in valued and not Path(word).exists()
        (overrides if is_override else rest).append(word)
    return overrides, rest


def usable_cores(quota: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Cores that this process may use: those it is bound to, or fewer where its container has a quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):
        allowed, period = quota.read_text().split()
        cores = min(cores, max(1, int(allowed) // int(period)))
    return cores


def settle_threads(environment: MutableMapping[str, str]) -> None:
    """Choose, before torch is loaded, how its threads wait and how many there are; what the user has set stays.

    Threads that wait for each other spin by default: with other programs on the machine a fit with two threads took 18
    times the processor time of one, and five times as long; asleep, they take as much as one.
    """
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    environment.setdefault("OMP_NUM_THREADS", str(usable_cores()))


def main(arguments: list[str] | None = None) -> None:
    """Entry point of the `adapt` script.

    Exit status 1: the input's fault; 2: the command line's or a setting's; 128 and the number of a signal: ended by it,
    130 by Ctrl-C, 143 by SIGTERM, 129 by a closed terminal.
    """
    settle_threads(os.environ)
    words = sys.argv[1:] if arguments is None else arguments
    overrides, rest = split_overrides(words)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a console that lacks a character shows another in its place
            stream.reconfigure(errors="replace")
    try:
        build_app(overrides)(args=rest, standalone_mode=True)
    except (AdaptError, OSError, ImportError) as error:
        if isinstance(error, ImportError) and (error.name or "").split(".")[0] in PACKAGES:
            raise
        line = " ".join(_line(error).split())
        if "--json" in rest:
            event = {"event": "error", "kind": type(error).__name__, "text": line}
            print(shown(json.dumps(event, ensure_ascii=False)))
        print(shown(f"adapt: {line}"), file=sys.stderr)
        sys.exit(2 if isinstance(error, ConfigError) else 1)


def _line(error: AdaptError | OSError | ImportError) -> str:
    """The message of an error; where the system refuses a file, the file's name and the system's reason."""
    if isinstance(error, ImportError):
        return f"something that adapt needs cannot be loaded ({error}); `adapt doctor` says what to install"
    if isinstance(error, OSError) and error.filename is not None:
        reason = "no such file" if isinstance(error, FileNotFoundError) else error.strerror
        return f"{error.filename}: {reason}"
    return str(error)


if __name__ == "__main__":
    main()
