"""Which sound track of a file holds the speech, where nobody says it."""

from dataclasses import replace
from pathlib import Path

from prior.speech.loudness import MUSIC_OR_NOISE, music_or_noise
from prior.speech.sound import listen
from render.errors import FootageError
from render.video.container import open_media
from render.video.sound_track import MARK, SoundTrack, is_readable


def speech_track(name: str | Path | SoundTrack, notes: list[str] | None = None) -> SoundTrack:
    """The sound track that a name means; where a file has several and none is named, the first that holds speech.

    Where none does, the first in which anything sounds, and else the first.

    Args:
        name: `FILE`, or `FILE#2` for its second sound track.
        notes: gets a sentence where there was a choice.

    Raises:
        FootageError: the file cannot be read, or has no such sound.
    """
    track = SoundTrack.named(name)
    with open_media(track.path) as container:
        track.stream_in(container)
        readable = [number for number, stream in enumerate(container.streams.audio, 1) if is_readable(stream)]
    if track.number is not None or len(readable) < 2:
        return track
    sounding, chosen, why = None, None, "the first with speech"
    for number in readable:
        try:
            heard = listen(replace(track, number=number))
        except FootageError:
            continue  # declared, and empty
        if not heard.is_silent:
            sounding = sounding or number
            if music_or_noise(heard.samples) <= MUSIC_OR_NOISE:
                chosen = number
                break
    if chosen is None:
        chosen, why = (sounding, "the first with sound") if sounding else (readable[0], "silent as the others")
    if notes is not None:
        notes.append(
            f"{track}: of its {len(readable)} sound tracks number {chosen} is used, {why}; choose another by "
            f"{track.path.name}{MARK}{readable[-1] if chosen != readable[-1] else readable[0]}"
        )
    return replace(track, number=chosen)
