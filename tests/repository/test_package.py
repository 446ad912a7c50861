"""What is packed and on what terms: pyproject.toml against the files that are there."""

import tomllib
from pathlib import Path

from packaging.licenses import canonicalize_license_expression
from packaging.requirements import Requirement

from prior import shipped

ROOT = Path(__file__).parents[2]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = SETTINGS["project"]


def packed(package: str) -> set[str]:
    """Names of a package's data files."""
    patterns = SETTINGS["tool"]["setuptools"]["package-data"][package]
    return {path.relative_to(ROOT / package).as_posix() for one in patterns for path in (ROOT / package).glob(one)}


def test_the_licence_is_of_code_and_weights_and_its_texts_are_packed() -> None:
    assert canonicalize_license_expression(PROJECT["license"]) == "Apache-2.0 AND LicenseRef-adapt-weights"
    texts = {name: (ROOT / name).read_text(encoding="utf-8") for name in PROJECT["license-files"]}
    assert "Apache License" in texts["LICENSE"] and "MediaPipe" in texts["NOTICE"].split("installed beside")[0]
    weights = texts["prior/weights/LICENSE.txt"]
    assert "LicenseRef-adapt-weights" in weights and "research and" in weights and "MODEL_CARD.md" in weights
    for entry in shipped.shipped_weights().values():
        assert entry.path.name in texts["MODEL_CARD.md"] and "MODEL_CARD.md" in entry.terms


def test_weights_with_their_pages_and_styles_of_reports_are_packed() -> None:
    stems = set(shipped.shipped_weights())
    named = {f"weights/{stem}{suffix}" for stem in stems for suffix in (".safetensors", ".md")}
    assert packed("prior") == named | {"weights/manifest.json", "weights/LICENSE.txt"}
    styles = {f"reports/{path.name}" for path in (ROOT / "adapt/reports").iterdir() if path.suffix in (".css", ".js")}
    assert packed("adapt") == styles and styles


def test_pyav_is_kept_to_versions_whose_time_bases_are_known() -> None:
    (pyav,) = [one for one in map(Requirement, PROJECT["dependencies"]) if one.name == "av"]
    assert "18.1.0" in pyav.specifier and "19.0.0" not in pyav.specifier
