"""What the words of `adapt dub` ask for."""

from pathlib import Path

import pytest

from adapt.commands.dub import options_of, requests_of
from adapt.commands.flags import DubConfig
from adapt.config import command_line
from adapt.dubbing.part import Request
from adapt.dubbing.sound import refuse_undeliverable
from adapt.motion.sources import OwnMotion, Silence, Sound, TrackFile, Video


def test_one_who_speaks_beside_one_who_is_silent_needs_no_choice_of_sound():
    config = DubConfig("shot.mp4", out="out", face=["ada.actor=voice.wav", "2=silence"])
    requests = requests_of(config)
    assert requests == [Request(Sound(Path("voice.wav")), Path("ada.actor")), Request(Silence(), person=2)]
    refuse_undeliverable(requests, options_of(config))


@pytest.mark.parametrize(
    ("word", "driver"),
    [
        ("source", OwnMotion()),
        ("silence", Silence()),
        ("1.track.safetensors", TrackFile(Path("1.track.safetensors"))),
        ("reading.mp4", Video(Path("reading.mp4"))),
    ],
)
def test_what_a_word_of_drive_means(word, driver):
    assert requests_of(DubConfig("shot.mp4", drive=word, out="out")) == [Request(driver)]


def test_the_command_that_chooses_is_printed_whole():
    config = DubConfig("my shot.mp4", "voice.wav", out="out", range="1-2", grain=True, face=[])
    line = command_line("dub", config)
    assert line == "adapt dub 'my shot.mp4' voice.wav -o out --range 1-2 --grain"
