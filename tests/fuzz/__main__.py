"""Damaged inputs over all readers: `python -m tests.fuzz [READER …] [--count N] [--seed S] [--keep FOLDER]`.

Input number i of a reader has seed S + i, and the same seed gives the same input. Right is what reads it, or refuses it
by a named error; each other outcome is a line: reader, seed, kind, where. The exit status is 1 if there is any.
"""

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.fuzz.fuzz import Finding, Fuzz
from tests.fuzz.readers import READERS


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="damaged inputs over all readers")
    parser.add_argument("readers", nargs="*", metavar="READER", help=f"of {', '.join(READERS)} (default: all)")
    parser.add_argument("--count", type=int, default=200, help="inputs of each reader")
    parser.add_argument("--seed", type=int, default=0, help="of the first")
    parser.add_argument("--keep", type=Path, help="folder for inputs that something is wrong with")
    asked = parser.parse_args(words)
    unknown = set(asked.readers) - set(READERS)
    if unknown:
        parser.error(f"no reader {', '.join(sorted(unknown))}")
    findings: list[Finding] = []
    with tempfile.TemporaryDirectory() as scratch, Fuzz(Path(scratch), asked.keep) as fuzz:
        for reader in asked.readers or READERS:
            tally = fuzz.run(reader, range(asked.seed, asked.seed + asked.count))
            for finding in tally.findings:
                print(finding, flush=True)
            findings += tally.findings
            print(f"{reader}: {tally}", flush=True)
    kinds = Counter((finding.reader, finding.kind, finding.where.partition(": ")[0]) for finding in findings)
    for (reader, kind, where), count in kinds.most_common():
        print(f"{count} × {reader}: {kind}, {where}")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
