"""Tables that people edit: comma-separated values with names of columns in the first row, told by line of the file."""

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path

from adapt.config import meant
from render.errors import ConfigError
from render.text import read_text


def read_table(path: Path, columns: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """Rows of a table that are not empty: line of the file, and column → text of the cells that are not empty.

    Semicolons may stand for commas, as spreadsheets have it where the comma is for decimals.

    Args:
        path: of the file.
        columns: those that there may be, in any order.

    Raises:
        OSError: it cannot be read.
        ConfigError: it is no table, or has other columns; with the row.
    """
    try:
        text = read_text(path)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error
    first = text.partition("\n")[0]
    table = csv.reader(io.StringIO(text), delimiter=";" if first.count(";") > first.count(",") else ",", strict=True)
    rows = []
    try:
        for row in table:
            cells = [cell.strip().replace("\n", " ") for cell in row]
            if any(cells):
                rows.append((table.line_num, cells))
    except csv.Error as error:
        raise ConfigError(f"{path} row {table.line_num}: not a table of comma-separated values ({error})") from error
    if not rows:
        raise ConfigError(f"{path}: empty; give a table with columns {', '.join(columns)}")
    names = [name.lower() for name in rows[0][1]]
    _refuse_columns(path, names, columns)
    filled = []
    for line, cells in rows[1:]:
        if any(cells[len(names) :]):
            raise ConfigError(f"{path} row {line}: {len(cells)} cells for {len(names)} columns")
        filled.append((line, {name: cell for name, cell in zip(names, cells, strict=False) if name and cell}))
    return filled


def _refuse_columns(path: Path, names: Sequence[str], columns: Sequence[str]) -> None:
    for name in names:
        if name and name not in columns:
            near = meant(name, columns)
            hint = f"did you mean {near}?" if near else f"columns are {', '.join(columns)}"
            raise ConfigError(f"{path} row 1: no column {name}; {hint}")
        if name and names.count(name) > 1:
            raise ConfigError(f"{path} row 1: two columns {name}")


def seconds_of(text: str, told: str) -> float:
    """Seconds of `12.5`, `0:12.5` or `0:00:12.5`; raises `ConfigError`, which begins with what is `told`."""
    *larger, last = text.split(":")
    try:
        seconds = float(last)
        for place, part in enumerate(reversed(larger), 1):
            seconds += int(part) * 60**place
    except ValueError:
        seconds = math.nan
    if len(larger) > 2 or not (0 <= seconds < math.inf):
        raise ConfigError(f"{told} {text}: give seconds of the shot, such as 2.5, or H:MM:SS.s")
    return seconds
