"""Consent: who agreed to what, for how long; read from a JSON file, stored in the bundle, shown in every report."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from render.errors import StoreError
from render.text import read_json

NO_CONSENT = "consent: not recorded"
#: What is said after a record of the past.
EXPIRED = " (expired)"
REQUIRED = ("who", "scope")


@dataclass(frozen=True)
class Consent:
    """A consent record.

    Attributes:
        entries: name → text, in the order of the file: `who` and `scope` at least; `date`, `expiry` and `reference`
            are known, others are kept as they are.
    """

    entries: Mapping[str, str]

    @staticmethod
    def of(record: Any, where: str) -> "Consent":
        """A record of JSON values; the message of an error says `where` it is from.

        Raises:
            StoreError: no object, or a required entry is absent.
        """
        missing = [key for key in REQUIRED if not isinstance(record, dict) or not record.get(key)]
        if missing:
            raise StoreError(f'{where}: consent record lacks {", ".join(missing)} (JSON: {{"who": …, "scope": …}})')
        return Consent({str(key): str(value) for key, value in record.items()})

    @property
    def expiry(self) -> date | None:
        """The last day on which it is valid; None where none is given.

        Raises:
            StoreError: the entry is no date such as 2027-12-31.
        """
        text = self.entries.get("expiry")
        if not text:
            return None
        try:
            return date.fromisoformat(text)
        except ValueError as error:
            raise StoreError(f"consent record: expiry {text!r} is no date such as 2027-12-31") from error

    def is_valid_on(self, day: date) -> bool:
        """Whether it had not expired on a day."""
        return self.expiry is None or day <= self.expiry

    def refuse_expired(self, where: str, anyway: bool = False) -> str | None:
        """Refuse to go on with a record that has expired.

        Args:
            where: it is from, for the message.
            anyway: go on all the same.

        Returns:
            What is to be said of one that has expired, in one sentence; None where it is valid.

        Raises:
            StoreError: it has expired, or its expiry is no date.
        """
        if self.is_valid_on(date.today()):
            return None
        told = f"{where}: the consent of {self.entries['who']} expired on {self.entries['expiry']}"
        if not anyway:
            raise StoreError(f"{told}; ask for a new one, or pass --anyway")
        return told

    def __str__(self) -> str:
        return "; ".join(f"{key}: {value}" for key, value in self.entries.items())


def read_consent(path: Path) -> Consent:
    """Read a consent record: a JSON object with at least `who` and `scope`.

    Raises:
        StoreError: missing, unreadable, a required entry is absent, or its expiry is no date.
    """
    if not Path(path).is_file():
        raise StoreError(f"{path}: no such file (expected a consent record)")
    consent = Consent.of(read_json(path), str(path))
    try:
        consent.is_valid_on(date.today())
    except StoreError as error:
        raise StoreError(f"{path}: {error}") from error
    return consent
