"""The weights that ship: where they are, what they must hash to, and on what terms they may be used.

`prior/weights/manifest.json` lists every shipped file; `python -m prior.shipped` rewrites its hashes after training.
"""

from dataclasses import dataclass
from pathlib import Path

from render.errors import StoreError
from render.store import file_sha256, write_json
from render.text import read_json

FOLDER = Path(__file__).parent / "weights"
MANIFEST = FOLDER / "manifest.json"
TERMS = "learnt from footage of mixed terms: research and evaluation; see MODEL_CARD.md"


@dataclass(frozen=True)
class ShippedWeights:
    """One shipped file: its path, expected sha256 (hexadecimal) and terms of use."""

    path: Path
    sha256: str
    terms: str

    def verify(self) -> Path:
        """The path, once the file is there and whole.

        Raises:
            StoreError: missing, or its bytes are not those that were shipped.
        """
        if not self.path.is_file():
            raise StoreError(
                f"{self.path}: shipped weights are missing (expected sha256 {self.sha256}); "
                "reinstall adapt-dub, or restore the file with `git checkout -- prior/weights`"
            )
        actual = file_sha256(self.path)
        if actual != self.sha256:
            raise StoreError(
                f"{self.path}: shipped weights are damaged (sha256 {actual}, expected {self.sha256}); "
                "reinstall adapt-dub, or restore the file with `git checkout -- prior/weights`"
            )
        return self.path


def shipped_weights() -> dict[str, ShippedWeights]:
    """Every shipped file by its stem, such as "face_model"."""
    if not MANIFEST.is_file():
        raise StoreError(f"{MANIFEST}: missing; reinstall adapt-dub")
    entries = read_json(MANIFEST)
    return {
        Path(name).stem: ShippedWeights(FOLDER / name, entry["sha256"], entry["terms"])
        for name, entry in entries.items()
    }


def main() -> None:
    """Rewrite the manifest from the files that are there."""
    entries = {
        path.name: {"sha256": file_sha256(path), "terms": TERMS} for path in sorted(FOLDER.glob("*.safetensors"))
    }
    write_json(MANIFEST, entries)
    for name, entry in entries.items():
        print(f"{entry['sha256']}  {name}")


if __name__ == "__main__":
    main()
