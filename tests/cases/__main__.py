"""Every case, one line each, and the share of them that come out right: `python -m tests.cases [WORDS OF A KIND]`."""

import sys
import tempfile
from importlib import import_module
from pathlib import Path

from tests.cases.case import CASES, Bench
from tests.cases.shared import make_shared

ROOMS = tuple(path.stem for path in sorted(Path(__file__).parent.glob("kinds_*.py")))


def load_cases() -> None:
    """Import every room, which registers its cases."""
    for room in ROOMS:
        import_module(f"tests.cases.{room}")


def main(words: list[str]) -> int:
    load_cases()
    chosen = [case for case in CASES if all(word in f"{case.kind} {case.name}" for word in words)]
    right = 0
    with tempfile.TemporaryDirectory() as scratch:
        shared = make_shared(Path(scratch) / "shared")
        for number, case in enumerate(chosen):
            folder = Path(scratch) / str(number)
            folder.mkdir()
            try:
                told, is_right = case.check(Bench(folder, shared)), True
            except AssertionError as error:
                told, is_right = f"WRONG: {' '.join(str(error).split())[:300]}", False
            right += is_right
            print(f"{case.kind} · {case.name}: {told}", flush=True)
    print(f"{right} of {len(chosen)} come out right: {100 * right / max(len(chosen), 1):.0f} %")
    return 0 if right == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
