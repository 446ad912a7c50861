"""`adapt prepare`: settings → a cache that training reads."""

from pathlib import Path

from adapt.commands.flags import PrepareConfig
from adapt.preparation.index import find_clips
from adapt.preparation.prepare import prepare_clip
from adapt.progress import Progress
from render.errors import AdaptError, ConfigError, FootageError


def main(config: PrepareConfig, progress: Progress) -> None:
    """Prepare footage; clips that are done are left as they are, clips without a usable face are named and passed."""
    if config.stage not in ("landmarks", "full"):
        raise ConfigError(f"--stage {config.stage}: landmarks or full")
    if not config.footage:
        raise ConfigError("missing: footage (adapt prepare FOOTAGE… -o CACHE)")
    clips = find_clips(config.footage, config.crops_per_person)
    done, failed = 0, []
    for clip in progress.over("clips", clips, len(clips)):
        try:
            done += prepare_clip(clip, Path(config.out) / clip.path.stem, config.stage, config.progressive)
        except AdaptError as error:
            failed.append(clip.path.name)
            progress.note(f"passed over: {error}")
    progress.note(f"{config.out}: {len(clips) - len(failed)} clips, {done} of them new")
    progress.result({"clips": len(clips) - len(failed), "new": done, "failed": failed})
    if len(failed) == len(clips):
        raise FootageError(f"{config.out}: no clip could be prepared, for the reasons given above")
