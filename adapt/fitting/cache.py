"""Cache of fits: a cast member without a bundle is fitted from the shot once, and found again by what it was made from.

In: everything that decides a fit. Out: an actor bundle under a name that is the hash of it, in the user's cache folder
(`$XDG_CACHE_HOME/adapt/fits`, else `~/.cache/adapt/fits`). Deleting it loses nothing but time.
"""

import json
import os
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from adapt.actor.bundle import ActorBundle
from adapt.cache import code_sha256, make_private, user_folder
from adapt.fitting.state import Checkpoint
from prior.face.model import WEIGHTS as FACE_MODEL
from render.errors import OutputError, StoreError
from render.store import code_version, file_sha256


def cache_folder() -> Path:
    """Where fits are kept by default; raises `OutputError` where the user has no home folder."""
    try:
        return user_folder("fits")
    except OutputError as error:
        raise OutputError("there is no home folder; say with --fit-cache where") from error


def _made_private() -> Path:
    """The default folder, made if need be, which nobody else can look into: it holds models of faces."""
    folder = cache_folder()
    make_private(folder)
    return folder


def cached_fit(
    key: dict[str, Any],
    prior_sha256: str,
    make: Callable[[Checkpoint | None], ActorBundle],
    note: Callable[[str], None],
    folder: Path | None = None,
    is_kept: bool = True,
) -> ActorBundle:
    """The bundle of an earlier fit of the same, else a new one, which is kept.

    Args:
        key: what decides the fit, apart from the prior and the program: hash of the footage, person, steps.
        prior_sha256: of the renderer prior at hand.
        make: fits; given where an interrupted fit of the same has left what it had learnt, if that is kept.
        note: called with a sentence: where the bundle comes from, or why it could not be kept.
        folder: of the cache; default `cache_folder()`.
        is_kept: whether fits are looked for and kept at all.
    """
    program = {
        "version": code_version(),
        "code": code_sha256("adapt.fitting.fit"),
        "face_model": file_sha256(FACE_MODEL),
    }
    identity = {**key, "prior": prior_sha256, **program}
    name = sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]
    if not is_kept:
        return _rounded(make(None), prior_sha256)
    try:
        kept = folder or _made_private()
    except (OSError, OutputError) as error:
        note(f"the fit is not kept for another time: {_reason(error)}")
        return _rounded(make(None), prior_sha256)
    path = kept / f"{name}.actor"
    if path.is_dir():
        try:
            bundle = ActorBundle.load(path, prior_sha256)
            note(f"fitted before, kept as {path.name}")
            return bundle
        except StoreError as error:
            note(f"fitting again: {_reason(error, kept)}")
    checkpoint = Checkpoint(kept / f"{name}.checkpoint", resume=True, is_expected=False)
    with suppress(OSError):
        kept.mkdir(parents=True, exist_ok=True)
    bundle = make(checkpoint if kept.is_dir() else None)
    try:
        saved = bundle.save(path, overwrite=True)
        checkpoint.path.unlink(missing_ok=True)
        return ActorBundle.load(saved, prior_sha256)
    except (OSError, OutputError, StoreError) as error:
        note(f"the fit was not kept for another time: {_reason(error, kept)}")
        return _rounded(bundle, prior_sha256)


def _rounded(bundle: ActorBundle, prior_sha256: str) -> ActorBundle:
    """The bundle as it is read when it was stored, so that every run draws the same; as it is on a full disk."""
    try:
        with TemporaryDirectory() as folder:
            return ActorBundle.load(bundle.save(Path(folder) / "once.actor"), prior_sha256)
    except (OSError, OutputError):
        return bundle


def _reason(error: Exception, folder: Path | None = None) -> str:
    """The message of an error without the folder that the user keeps fits in: it is told in reports."""
    told = str(error.strerror) if isinstance(error, OSError) else str(error)
    return told.replace(f"{folder}{os.sep}", "") if folder else told
