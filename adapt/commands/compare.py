"""`adapt compare`: settings → a comparison → tables and report."""

from pathlib import Path

from adapt.commands.flags import CompareConfig
from adapt.comparison.cells import CompareError
from adapt.comparison.compare import REPORT, TABLE, compare
from adapt.comparison.options import LANES, CompareOptions
from adapt.config import handed_on
from adapt.progress import Progress
from render.errors import ConfigError

ALL = "all"


def main(config: CompareConfig, progress: Progress) -> None:
    """Compare, and say where the report is."""
    if not config.footage:
        raise ConfigError("missing: footage (adapt compare FOOTAGE… -o FOLDER)")
    comparison = compare(config.footage, config.out, options_of(config), settings=handed_on(config), progress=progress)
    problems = comparison.problems
    progress.note(f"{config.out}: {len(comparison.splits)} clips; look at {Path(config.out) / REPORT}")
    progress.result({"clips": len(comparison.splits), "problems": [str(problem) for problem in problems]})
    if config.strict and problems:
        raise CompareError(f"{len(problems)} left out, the first: {problems[0]}; see {config.out}/{TABLE}")


def options_of(config: CompareConfig) -> CompareOptions:
    """What is compared, by the settings; raises `ConfigError` for what means nothing."""
    named = [word.strip() for word in config.methods.split(",")]
    return CompareOptions(
        methods=None if config.methods == ALL else named,
        commands=config.method,
        method_minutes=config.method_minutes,
        lanes=_lanes(config.lanes),
        enrollment=config.enrollment,
        held_out=config.held_out,
        split=config.split,
        sound=None if config.sound is None else Path(config.sound),
        fit_steps=config.fit_steps,
        tracks=None if config.tracks is None else Path(config.tracks),
        prior=None if config.prior is None else Path(config.prior),
        progressive=config.progressive,
    )


def _lanes(words: str) -> list[int]:
    """Lanes of a setting such as "1,4"."""
    chosen = [int(word) for word in words.split(",") if word.strip().isdigit()]
    if len(chosen) != len(words.split(",")):
        raise ConfigError(f"--lanes {words}: numbers from 1 to {max(LANES)} with commas between")
    return sorted(set(chosen))
