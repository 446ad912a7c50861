"""Cache of fits: a cast member without a bundle is fitted from the shot once, and found again by what it was made from.

In: everything that decides a fit. Out: an actor bundle under a name that is the hash of it, in the user's cache folder
(`$XDG_CACHE_HOME/adapt/fits`, else `~/.cache/adapt/fits`). Deleting it loses nothing but time.
"""

import json
import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

from adapt.actor.bundle import ActorBundle
from adapt.cache import code_sha256
from prior.face.model import WEIGHTS as FACE_MODEL
from render.errors import OutputError, StoreError
from render.store import code_version, file_sha256


def cache_folder() -> Path:
    """Where fits are kept by default."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "adapt" / "fits"


def cached_fit(
    key: dict[str, Any],
    prior_sha256: str,
    make: Callable[[], ActorBundle],
    note: Callable[[str], None],
    folder: Path | None = None,
) -> ActorBundle:
    """The bundle of an earlier fit of the same, else a new one, which is kept.

    Args:
        key: what decides the fit, apart from the prior and the program: hash of the footage, person, steps.
        prior_sha256: of the renderer prior at hand.
        make: fits.
        note: called with a sentence: where the bundle comes from, or why it could not be kept.
        folder: of the cache; default `cache_folder()`.
    """
    program = {
        "version": code_version(),
        "code": code_sha256("adapt.fitting.fit"),
        "face_model": file_sha256(FACE_MODEL),
    }
    identity = {**key, "prior": prior_sha256, **program}
    name = sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]
    path = (folder or cache_folder()) / f"{name}.actor"
    if path.is_dir():
        try:
            bundle = ActorBundle.load(path, prior_sha256)
            note(f"fitted before: {path}")
            return bundle
        except StoreError as error:
            note(f"fitting again: {error}")
    bundle = make()
    try:
        bundle.save(path, overwrite=True)
        return ActorBundle.load(path, prior_sha256)  # rounded as it is stored, so that every run draws the same
    except (OSError, OutputError, StoreError) as error:
        note(f"the fit was not kept for another time: {error}")
        return bundle
