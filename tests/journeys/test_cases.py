"""Every case of `python -m tests.cases` comes out right."""

import pytest

from tests.cases.__main__ import load_cases
from tests.cases.case import CASES, Bench
from tests.cases.shared import make_shared

load_cases()


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    return make_shared(tmp_path_factory.mktemp("cases") / "shared")


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.kind}: {case.name}")
def test_case(case, shared, tmp_path):
    assert case.check(Bench(tmp_path, shared))
