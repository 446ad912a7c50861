"""Text: names and tags fit to be stored and printed, and text files however people's editors write them.

A file's name is bytes that need not be text, and a tag may hold anything. Light to import.
"""

import codecs
import json
import re
from pathlib import Path
from typing import Any

from render.errors import StoreError

#: What a terminal obeys, or takes for a change of direction, in place of showing it; new line and tab are let through.
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
#: Byte order mark → encoding, the longer mark first.
MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    codecs.BOM_UTF8: "utf-8-sig",
}

#: Lists and objects within each other in a JSON file, at most.
DEEPEST = 100


def printable(text: str) -> str:
    """The text, fit for UTF-8: bytes of a file name that are no text (an old Latin-1 disk's) are shown as U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def shown(text: str) -> str:
    r"""Text as it may be printed: control characters of names and tags as `\u001b`, in JSON, too; see `printable`."""
    return CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", printable(text))


def json_text(value: Any, indent: int | None = None, sort_keys: bool = False) -> str:
    """`value` as JSON that UTF-8 can hold; see `printable`. Raises `ValueError` for NaN and infinities."""
    return printable(json.dumps(value, indent=indent, sort_keys=sort_keys, ensure_ascii=False, allow_nan=False))


def read_text(path: Path) -> str:
    """The text of a file: UTF-8, or UTF-16 where a byte order mark says so, with any line ends.

    Raises:
        OSError: it cannot be read.
        ValueError: it is in another encoding.
    """
    data = Path(path).read_bytes()
    encoding = next((encoding for mark, encoding in MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        return data.decode(encoding).replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeError as error:
        raise ValueError("its text is neither UTF-8 nor UTF-16; save it as UTF-8") from error


def read_json(path: Path) -> Any:
    """What a UTF-8 JSON file holds.

    Raises:
        StoreError: missing, unreadable, or not JSON that can be written and shown again (numbers are finite, text is
            Unicode, at most `DEEPEST` lists and objects lie within each other).
    """
    try:
        value = json.loads(read_text(path))
        _refuse_deep(value)
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (OSError, ValueError, RecursionError) as error:
        raise StoreError(f"{path}: cannot be read as JSON ({error})") from error
    return value


def _refuse_deep(value: Any) -> None:
    level = [value] if isinstance(value, (dict, list)) else []
    for _ in range(DEEPEST):
        level = [inner for outer in level for inner in (outer.values() if isinstance(outer, dict) else outer)]
        level = [inner for inner in level if isinstance(inner, (dict, list))]
    if level:
        raise ValueError(f"more than {DEEPEST} lists and objects within each other")
