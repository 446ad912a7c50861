"""Index: which files hold which people, from folders with an index.csv or from file names."""

import csv
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from render.errors import ConfigError, FootageError

SUFFIXES = {".mp4", ".mov", ".mkv", ".avi", ".webm", ".mpg", ".mpeg", ".m4v"}
#: Crops that every clip gets at least, however many the person has.
LEAST_CROPS = 30


@dataclass(frozen=True)
class ListedClip:
    """A file to prepare: its person, and whether its sound belongs to the picture (None: not known)."""

    path: Path
    person: str
    speech: bool | None
    crops: int


def find_clips(footage: list[str], crops_per_person: int) -> list[ListedClip]:
    """The clips among files and folders, in order of name; crops are shared out over a person's clips.

    Raises:
        FootageError: nothing there.
        ConfigError: two clips of one name.
    """
    paths: list[Path] = []
    for name in footage:
        path = Path(name)
        if path.is_dir():
            paths += sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
        else:
            paths.append(path)
    if not paths:
        raise FootageError(f"{', '.join(footage)}: no video files ({' '.join(sorted(SUFFIXES))})")
    twice = [stem for stem, count in Counter(path.stem for path in paths).items() if count > 1]
    if twice:
        raise ConfigError(f"{twice[0]}: several clips of this name; a cache names clips by their files' stems")
    indices = {folder: read_index(folder) for folder in {path.parent for path in paths}}
    rows = {path: indices[path.parent].get(path.name, {}) for path in paths}
    people = {path: rows[path].get("person", path.stem) for path in paths}
    clips_of = Counter(people.values())
    return [
        ListedClip(
            path,
            people[path],
            {"yes": True, "no": False}.get(rows[path].get("speech", "")),
            max(LEAST_CROPS, crops_per_person // clips_of[people[path]]),
        )
        for path in paths
    ]


def read_index(folder: Path) -> dict[str, dict[str, str]]:
    """The rows of a folder's `index.csv`, by file name, the first where there are several; empty where there is none.

    Raises:
        ConfigError: it is not UTF-8, no table, or has no column `file`.
    """
    index = folder / "index.csv"
    if not index.is_file():
        return {}
    found: dict[str, dict[str, str]] = {}
    try:
        with index.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            if "file" not in (rows.fieldnames or ()):
                raise ConfigError(
                    f"{index}: has no column `file`; its first line names the columns, with commas between"
                )
            for row in rows:
                found.setdefault(row["file"], {key: value for key, value in row.items() if value})
    except UnicodeDecodeError as error:
        raise ConfigError(f"{index}: is not UTF-8 text; save it as CSV in UTF-8") from error
    except csv.Error as error:
        raise ConfigError(f"{index}: is no table ({error}); save it as CSV, every quotation mark closed") from error
    return found
