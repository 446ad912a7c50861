"""`adapt compare`: settings → a comparison → tables and report."""

from pathlib import Path

from adapt.commands.flags import CompareConfig
from adapt.comparison.cells import CompareError
from adapt.comparison.compare import REPORT, TABLE, compare
from adapt.progress import Progress


def main(config: CompareConfig, progress: Progress) -> None:
    """Compare from the command line."""
    found = compare(config, progress)
    progress.note(f"{config.out}: {len(found.splits)} clips; look at {Path(config.out) / REPORT}")
    progress.result({"clips": len(found.splits), "problems": [str(problem) for problem in found.problems]})
    if config.strict and found.problems:
        raise CompareError(f"{len(found.problems)} left out, the first: {found.problems[0]}; see {config.out}/{TABLE}")
