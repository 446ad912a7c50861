"""The plain thing, which must go on working: a shot, a voice, a bundle."""

from render.video.reader import Footage
from tests.cases.case import Bench, case


@case("plain", "a shot dubbed to a voice")
def a_shot_dubbed_to_a_voice(bench: Bench) -> str:
    shot = bench.shared / "talking.mp4"
    outcome = bench.dub(shot, bench.shared / "voice.wav")
    assert outcome.code == 0, outcome
    dubbed = Footage(bench.folder / "out" / "talking.dubbed.mp4")
    assert dubbed.frame_count == Footage(shot).frame_count and len(dubbed.audio) == 1
    return "dubbed, as many frames, one sound track"


@case("plain", "a voice that is checked")
def a_voice_that_is_checked(bench: Bench) -> str:
    outcome = bench.adapt("check", bench.shared / "talking.mp4", "--audio", bench.shared / "voice.wav")
    assert outcome.code == 0 and "person 1" in outcome.out, outcome
    return "person 1, and the voice beside it"
