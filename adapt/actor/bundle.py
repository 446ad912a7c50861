"""The actor bundle: everything fitted for one actor, in one directory that can be copied, checked and refused.

`actor.json` holds the facts (name, sources and their hashes, seconds and steps, scores, consent, the prior it needs,
hashes of its other files); `actor.safetensors` the neural texture, the bank of frames, the renderer delta and the
mouth style.
"""

import json
import math
import shutil
from dataclasses import asdict, dataclass, field, fields
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from adapt.actor.consent import EXPIRED, NO_CONSENT, Consent
from adapt.output import new_folder, refuse_existing
from render.drawing.look import Bank, Look
from render.errors import StoreError, StoreVersionError
from render.store import code_version, damage_named, file_sha256, load_tensors, refuse_values, save_tensors, write_json
from render.text import json_text, read_json

KIND = "adapt-actor"
KIND_VERSION = 2
FACTS = "actor.json"
TENSORS = "actor.safetensors"
DELTA = "delta."
STYLE = "style."
APPEARANCE = "appearance."
BANK = "bank."
DETAIL = "detail."
#: What of a bundle is not in `actor.json`.
TENSOR_FIELDS = {"texture", "delta", "style", "appearance", "bank", "detail"}


@dataclass(frozen=True)
class FitScores:
    """PSNR over the erased area of held-out frames, dB, by the prior as it is and after fitting."""

    unadapted: float
    adapted: float

    @property
    def labelled(self) -> dict[str, float]:
        """Label → value, as they are stored and shown."""
        return {f"{name}: PSNR over the erased area, dB": value for name, value in asdict(self).items()}

    @staticmethod
    def of(labelled: dict[str, float]) -> "FitScores":
        """The inverse of `labelled`."""
        return FitScores(**{label.partition(":")[0]: value for label, value in labelled.items()})


@dataclass(frozen=True)
class FitFacts:
    """How an actor was fitted.

    Attributes:
        seconds: of footage learnt from.
        steps: optimiser steps taken.
        seed: of the choice of frames and of noise.
        adapted: whether fitting helped on held-out frames; if not, the unadapted prior was kept.
        held_out_loss: mean loss over held-out frames: "unadapted", "adapted".
        never_seen: what the footage does not show, in words.
        consent: record of the actor's consent, if there is one.
        terms: of the prior's weights.
        scores: on held-out frames, once they were drawn.
        mouth: what the mouth's style was measured on, in words, and the hash of the motion model that took part.
    """

    seconds: float = 0.0
    steps: int = 0
    seed: int = 0
    adapted: bool = False
    held_out_loss: dict[str, float] = field(default_factory=dict)
    never_seen: list[str] = field(default_factory=list)
    consent: Consent | None = None
    terms: str | None = None
    scores: FitScores | None = None
    mouth: dict[str, Any] = field(default_factory=dict)

    @property
    def record(self) -> dict[str, Any]:
        """The same as JSON-able values."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        values["consent"] = dict(self.consent.entries) if self.consent else None
        if self.scores is None:
            del values["scores"]
        else:
            values["scores"] = self.scores.labelled
        return values

    @property
    def consent_has_expired(self) -> bool:
        """Whether there is a consent record and it is of the past."""
        return self.consent is not None and not self.consent.is_valid_on(date.today())

    @staticmethod
    def of(record: dict[str, Any], where: str) -> "FitFacts":
        """The inverse of `record`; the message of an error says `where` it is from.

        Raises:
            StoreError: an entry is unknown, or empty.
        """
        try:
            values = dict(record)
            scores = FitScores.of(values.pop("scores")) if "scores" in values else None
            consent = values.pop("consent", None)
            return FitFacts(**values, consent=Consent.of(consent, where) if consent else None, scores=scores)
        except (TypeError, ValueError, AttributeError) as error:
            raise StoreError(f"{where}: damaged ({error}); copy the bundle again or fit the actor again") from error


@dataclass(frozen=True)
class ActorBundle:
    """One fitted actor.

    Attributes:
        name: for people.
        texture: [16, H, W] float16 neural texture.
        delta: what is added to the renderer (`adapt.actor.delta`); empty where the prior was kept.
        style: name → tensor, the actor's mouth style for audio-to-motion (`MouthStyle.tensors`).
        prior_sha256: the renderer prior this bundle belongs to; any other is refused.
        sources: one entry per enrollment clip: file name, sha256, person, frames learnt from.
        pose_range: {"yaw": [low, high], "pitch": [low, high]} seen in enrollment, degrees.
        facts: how the actor was fitted.
        appearance: name → tensor, what the actor looks like (`adapt.cast.resemblance`); empty where it is not known.
        bank: name → tensor, the actor's own frames over uv (`render.drawing.look.Bank.stored`).
        detail: name → tensor, what they show beyond the renderer's resolution (`render.drawing.detail.Detail.stored`);
            empty where the footage was no finer.
    """

    name: str
    texture: torch.Tensor
    delta: dict[str, torch.Tensor]
    style: dict[str, torch.Tensor]
    prior_sha256: str
    sources: list[dict[str, Any]]
    pose_range: dict[str, list[float]]
    facts: FitFacts = field(default_factory=FitFacts)
    appearance: dict[str, torch.Tensor] = field(default_factory=dict)
    bank: dict[str, torch.Tensor] = field(default_factory=dict)
    detail: dict[str, torch.Tensor] = field(default_factory=dict)

    @property
    def look(self) -> Look:
        """What the renderer draws from; raises `StoreError` where the bundle has no bank."""
        texture = self.texture[None].float().contiguous(memory_format=torch.channels_last)  # as it is sampled
        return Look(texture, Bank.of_stored(self.bank))

    @property
    def consent(self) -> str:
        """The consent record in one line, and whether it has expired; or that there is none."""
        return str(self.facts.consent or NO_CONSENT) + (EXPIRED if self.facts.consent_has_expired else "")

    def save(self, path: Path, extras: dict[str, Path] | None = None, overwrite: bool = False) -> Path:
        """Write the directory under a temporary name, then rename it.

        Args:
            path: the bundle's directory.
            extras: name in the bundle → file to move there (contact sheet, report).
            overwrite: replace an existing bundle; any other existing path is refused all the same.

        Returns:
            Where it is: `path`, or `path`.1 where something else came into being there meanwhile.

        Raises:
            OutputError: `path` exists, or cannot be written.
        """
        path = Path(path)
        refuse_taken(path, overwrite)
        with new_folder(path, lambda there: overwrite and (there / FACTS).is_file()) as made:
            folder = made.path
            tensors = {"texture": self.texture.to(torch.float16)}
            tensors |= {DELTA + name: value.to(torch.float16) for name, value in self.delta.items()}
            tensors |= {STYLE + name: value for name, value in self.style.items()}
            tensors |= {APPEARANCE + name: value.to(torch.float16) for name, value in self.appearance.items()}
            tensors |= {BANK + name: value for name, value in self.bank.items()}
            tensors |= {DETAIL + name: value for name, value in self.detail.items()}
            save_tensors(folder / TENSORS, KIND, KIND_VERSION, tensors, {})
            for name, file in (extras or {}).items():
                shutil.copyfile(file, folder / name)  # not `move`, which sets modes, and some disks have none
                file.unlink()
            header = {"format": KIND, "format_version": KIND_VERSION, "code_version": code_version()}
            hashes = {file.name: file_sha256(file) for file in sorted(folder.iterdir())}
            entries = {
                entry.name: getattr(self, entry.name) for entry in fields(self) if entry.name not in TENSOR_FIELDS
            }
            facts = {**header, **entries, "facts": self.facts.record, "files": hashes}
            facts = json.loads(json_text(facts))  # as it is read again, so that its hash holds
            write_json(folder / FACTS, {**facts, "facts_sha256": _facts_sha256(facts)})
        return made.path

    @staticmethod
    def load(path: Path, prior_sha256: str | None = None) -> "ActorBundle":
        """Read and verify a bundle.

        Args:
            path: the bundle's directory.
            prior_sha256: of the renderer prior at hand; a bundle fitted on another is refused.

        Raises:
            StoreError: not a bundle, damaged, or fitted on another prior.
            StoreVersionError: written by another version of the format.
        """
        path = Path(path)
        facts = read_facts(path)
        for name, expected in facts.pop("files").items():
            if not (path / name).is_file():
                raise StoreError(f"{path}: {name} is missing; copy the bundle again or fit the actor again")
            if name == TENSORS and file_sha256(path / name) != expected:
                raise StoreError(f"{path}: {name} is damaged (sha256 differs); copy the bundle again or fit again")
        if prior_sha256 is not None and facts["prior_sha256"] != prior_sha256:
            raise StoreError(
                f"{path}: fitted on renderer prior {facts['prior_sha256'][:12]}, the one at hand is "
                f"{prior_sha256[:12]}; fit the actor again, or install the version that shipped that prior"
            )
        tensors, _ = load_tensors(path / TENSORS, KIND, KIND_VERSION)
        _refuse_tensors(path / TENSORS, tensors)
        return ActorBundle(
            texture=tensors["texture"].float(),
            delta=_named(tensors, DELTA),
            style=_named(tensors, STYLE),
            appearance=_named(tensors, APPEARANCE),
            bank=_named(tensors, BANK),
            detail=_named(tensors, DETAIL),
            **{**facts, "facts": FitFacts.of(facts["facts"], str(path / FACTS))},
        )


def _named(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """Tensors whose names begin with a prefix, without it; floats as float32, bytes as they are."""
    chosen = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    return {name: value.float() if value.is_floating_point() else value for name, value in chosen.items()}


def _refuse_tensors(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Raise `StoreError` for tensors of no bundle, as far as that shows without a prior; see `adapt.actor.misfit`."""
    for name, value in tensors.items():
        if name != "texture" and not name.startswith((DELTA, STYLE, APPEARANCE, BANK, DETAIL)):
            raise StoreError(f"{path}: {name} belongs to no actor bundle; fit the actor again")
        refuse_values(path, name, value)
    if "texture" not in tensors or tensors["texture"].ndim != 3:
        raise StoreError(f"{path}: has no texture [channels, height, width]; fit the actor again")


def refuse_taken(path: Path, overwrite: bool) -> None:
    """Raise `OutputError` where `path` exists, unless it is a bundle and `overwrite` says to replace it."""
    refuse_existing(path, overwrite, "actor bundle", (path / FACTS).is_file())


def _facts_sha256(facts: dict[str, Any]) -> str:
    return sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def read_facts(path: Path) -> dict[str, Any]:
    """The facts of `actor.json` without its header, its tensors unread.

    Raises:
        StoreError: not a bundle.
        StoreVersionError: written by another version of the format.
    """
    file = Path(path) / FACTS
    if not Path(path).exists():
        raise StoreError(f"{path}: no such folder; make an actor bundle with `adapt fit FOOTAGE -o NAME.actor`")
    if not file.is_file():
        raise StoreError(f"{path}: not an actor bundle (no {FACTS}); make one with `adapt fit FOOTAGE -o NAME.actor`")
    try:
        facts = read_json(file)
        expected = facts.pop("facts_sha256", None)
        damaged = expected not in (None, _facts_sha256(facts))
        kind, kind_version, written_by = (facts.pop(key) for key in ("format", "format_version", "code_version"))
    except (StoreError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"{file}: damaged ({error}); copy the bundle again or fit the actor again") from error
    if kind != KIND:
        raise StoreError(f"{path}: is a {kind}, expected {KIND}")
    if kind_version != KIND_VERSION:
        raise StoreVersionError(
            f"{path}: actor bundle version {kind_version} (written by {written_by}), this program reads version "
            f"{KIND_VERSION}; install that version or fit the actor again"
        )
    stored = {entry.name for entry in fields(ActorBundle)} - TENSOR_FIELDS | {"files"}
    if set(facts) != stored:
        wrong = ", ".join(sorted(set(facts) ^ stored))
        raise StoreError(f"{file}: damaged (entries {wrong}); copy the bundle again or fit the actor again")
    if damaged:
        raise StoreError(f"{file}: damaged (sha256 differs); copy the bundle again or fit the actor again")
    with damage_named(file, "actor bundle"):
        _refuse_facts(facts)
    return facts


def _refuse_facts(facts: dict[str, Any]) -> None:
    """Raise `ValueError` for an entry of `actor.json` that is of another kind than a fit writes."""
    ranges = list(facts["pose_range"].values())
    right = {
        "name": isinstance(facts["name"], str),
        "prior_sha256": isinstance(facts["prior_sha256"], str),
        "sources": all(isinstance(source, dict) for source in facts["sources"]),
        "pose_range": all(math.isfinite(low) and math.isfinite(high) for low, high in ranges),
        "facts": isinstance(facts["facts"], dict),
        "files": TENSORS in facts["files"] and all(Path(name).name == name for name in facts["files"]),
    }
    if wrong := [name for name, is_right in right.items() if not is_right]:
        raise ValueError(f"entries {', '.join(wrong)}")
