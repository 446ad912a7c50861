"""Damaged inputs are read or refused by name, by every reader; `python -m tests.fuzz` reads many more."""

import pytest

from tests.fuzz.child import damaged, read
from tests.fuzz.fuzz import Fuzz
from tests.fuzz.originals import MAKERS, make_originals
from tests.fuzz.readers import READERS

SEEDS = range(8)


@pytest.fixture(scope="module")
def fuzz(tmp_path_factory):
    with Fuzz(tmp_path_factory.mktemp("fuzz")) as fuzz:
        for reader in READERS:
            make_originals(fuzz.originals, reader)
        yield fuzz


def test_every_reader_has_originals_and_reads_them(fuzz):
    assert set(MAKERS) == set(READERS)
    for reader in READERS:
        for folder in (fuzz.originals / reader).iterdir():
            assert read(reader, folder) == ([], True), folder


def test_the_same_seed_gives_the_same_input(fuzz):
    for reader in READERS:
        inputs = [damaged(fuzz.originals, reader, seed) for seed in (3, 3, 4)]
        assert inputs[0] == inputs[1] != inputs[2]


@pytest.mark.parametrize("reader", READERS)
def test_damaged_inputs_are_read_or_refused(fuzz, reader):
    assert fuzz.run(reader, SEEDS).findings == []


@pytest.mark.parametrize(
    ("fault", "kind"),
    [("end", "signal SIGSEGV"), ("hang", "time"), ("grow", "memory"), ("stumble", "KeyError"), ("refuse", None)],
)
def test_what_is_wrong_is_noticed_kept_and_not_the_next_inputs(tmp_path, fault, kind):
    (tmp_path / "originals" / fault / "whole").mkdir(parents=True)
    (tmp_path / "originals" / fault / "whole" / "a.txt").write_text("a")
    with Fuzz(tmp_path, tmp_path / "kept", seconds=1.0) as fuzz:
        wrong = fuzz.run(fault, range(5, 7)).findings
        assert [(finding.seed, finding.kind) for finding in wrong] == ([(5, kind), (6, kind)] if kind else [])
        assert fuzz.run("consent", range(2)).inputs == 2
    kept = sorted(path.parent.name for path in (tmp_path / "kept").glob("*/a.txt"))
    assert kept == ([f"{fault}-5", f"{fault}-6"] if kind else [])
