"""Consent: who agreed to what, for how long; read from a JSON file, stored in the bundle, shown in every report."""

import json
from pathlib import Path

from render.errors import StoreError

NO_CONSENT = "consent: not recorded"


def read_consent(path: Path) -> dict[str, str]:
    """Read a consent record: a JSON object with at least `who` and `scope`, all values text.

    Raises:
        StoreError: missing, unreadable, or a required entry is absent.
    """
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(f"{path}: consent record cannot be read as JSON ({error})") from error
    missing = [key for key in ("who", "scope") if not isinstance(record, dict) or not record.get(key)]
    if missing:
        raise StoreError(f'{path}: consent record lacks {", ".join(missing)} (JSON: {{"who": …, "scope": …}})')
    return {str(key): str(value) for key, value in record.items()}
