"""`adapt cache`: what is kept in the user's cache folder, in lines; or remove it."""

import shutil
from pathlib import Path

from adapt.cache import LARGEST_FOUND_BYTES, Found, user_folder
from adapt.commands.flags import CacheConfig
from adapt.progress import Progress


def main(config: CacheConfig, progress: Progress) -> None:
    """Print or remove what is kept."""
    found, fits = Found.of_user(), user_folder("fits")
    held = {"found": _bytes(user_folder("found")), "fits": _bytes(fits)}
    if config.clear:
        found.clear()
        for bundle in fits.glob("*.actor"):
            shutil.rmtree(bundle, ignore_errors=True)
    what = {
        "found": "of videos (faces, tracks, interrupted dubs)",
        "fits": "of people fitted from a shot",
    }
    for name, size in held.items():
        state = "removed" if config.clear else f"at most {_told(LARGEST_FOUND_BYTES)}" if name == "found" else "kept"
        progress.say(f"{user_folder(name)}: {_told(size)} {what[name]}, {state}")
    progress.result({"removed" if config.clear else "kept": held, "folder": str(user_folder(""))})


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _told(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size < 1e9 else f"{size / 1e9:.1f} GB"
