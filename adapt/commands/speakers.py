"""`adapt speakers`: settings → a proposed cue file, and what is not sure."""

from pathlib import Path

from adapt.commands.flags import SpeakersConfig
from adapt.motion.speakers import speakers, write_proposal
from adapt.output import refuse_existing
from adapt.progress import Progress
from render.video.container import timecode


def main(config: SpeakersConfig, progress: Progress) -> None:
    """Write the proposal, and tell whose voice is whose and which windows are not sure."""
    out = Path(config.out)
    refuse_existing(out, config.overwrite, "table (.csv)", out.suffix == ".csv")
    proposal = speakers(
        config.video,
        config.sounds,
        progressive=config.progressive,
        keep_found=not config.no_cache,
        progress=progress,
    )
    write_proposal(out, proposal.rows())
    for name, person in proposal.voices.items():
        progress.say(f"{name}: mostly of person {person}")
    unsure = [turn for turn in proposal.turns if not proposal.is_clear(turn)]
    for turn in unsure:
        progress.say(
            f"{timecode(turn.start)} to {timecode(turn.end)}: not sure who speaks {proposal.sounds[turn.sound]}"
        )
    progress.result({"speakers": str(out), "windows": len(proposal.turns), "not_sure": len(unsure)})
    progress.note(f"{out}: look through it, then pass it with --cues")
