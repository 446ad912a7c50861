import os
import warnings
from pathlib import Path

import pytest
import torch


@pytest.fixture(scope="session")
def footage_dir() -> Path:
    """The real clips; a test that needs them skips, loudly, where they are absent."""
    default = Path(__file__).parents[1] / ".." / "shared" / "footage"
    path = Path(os.environ.get("ADAPT_FOOTAGE", default)).resolve()
    if not (path / "dev" / "index.csv").is_file():
        warnings.warn(f"ADAPT_FOOTAGE: no footage at {path}; tests on real footage are skipped", stacklevel=1)
        pytest.skip(f"no footage at {path}")
    return path


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not torch.cuda.is_available():
        for item in items:
            if "cuda" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="no CUDA device"))
