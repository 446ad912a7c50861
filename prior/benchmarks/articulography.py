"""Lips measured by articulography, beside their sound: how such a folder is read.

It holds `ema.json` (`utterances`: name, speaker, emotion, text; `rate_hz`), `NAME.npz` (`lips` [T, 4, 3] in
millimetres: upper, lower, left corner, right corner; x to the front, z up) and `NAME.opus`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from render.errors import StoreError
from render.text import read_json

INDEX = "ema.json"


def measured_lips(folder: Path) -> Iterator[tuple[dict[str, Any], np.ndarray, float]]:
    """Of every utterance its entry in the index, its lips [T, 4, 3] float64 in mm, and samples a second.

    Raises:
        StoreError: the folder has no index.
    """
    if not (folder / INDEX).is_file():
        raise StoreError(f"{folder}: no {INDEX}; give a folder of lips measured by articulography")
    index = read_json(folder / INDEX)
    for entry in index["utterances"]:
        yield entry, np.load(folder / f"{entry['name']}.npz")["lips"].astype(np.float64), float(index["rate_hz"])
