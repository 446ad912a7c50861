import functools
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.ops.compiled import compile_into


@pytest.fixture(scope="session")
def compile_once(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`compile_into` pytest's cache, which outlasts the run, or a temporary folder where the cache is turned off."""
    cache = getattr(request.config, "cache", None)
    return functools.partial(compile_into, cache.mkdir("compiled") if cache else tmp_path_factory.mktemp("compiled"))
