"""Style of somebody else, in part or whole: what is taken over and what stays."""

from pathlib import Path

import pytest
import torch

from adapt.motion.controls import Cue, Intensity, TalkingStyle, directed
from adapt.motion.direction import Direction
from adapt.motion.other_style import StyleOf, parse_style, talking_styles
from adapt.motion.placement import Placement
from adapt.motion.sources import Driven, OwnMotion
from prior.face.model import load_face_model
from prior.motion.model import shipped_motion_model
from prior.motion.style import MouthStyle, mouth_style
from render.errors import ConfigError, DubError

OTHER = Path("other.mp4")


@pytest.fixture
def asked(speaker):
    """The average person who knows of another, who moves half as far about a mouth less open by a third."""
    style = TalkingStyle(0.67 * (speaker.mean - speaker.closed), 0.5 * speaker.spread)
    speaker.others[OTHER] = style
    yield speaker
    del speaker.others[OTHER]


def talking(expression, motion, speaker):
    """Opening where somebody speaks and no closure is near."""
    return ((expression - speaker.closed) @ speaker.opening_axis)[(motion.speaking > 0.99) & (motion.shut == 0)]


def test_mean_and_spread_are_taken_over_and_timing_stays(spoken, asked):
    was, now = (
        talking(one, spoken, asked) for one in (spoken.expression, directed(spoken, asked, [Cue(StyleOf(OTHER))]))
    )
    assert float(torch.corrcoef(torch.stack([was, now]))[0, 1]) > 0.99
    assert float(now.std() / was.std()) == pytest.approx(0.5, abs=0.05)
    usual = float((asked.mean - asked.closed) @ asked.opening_axis)
    assert float(now.mean()) - 0.5 * float(was.mean()) == pytest.approx((0.67 - 0.5) * usual, abs=0.03)
    silent = spoken.speaking < 1e-4
    torch.testing.assert_close(
        directed(spoken, asked, [Cue(StyleOf(OTHER))])[silent], spoken.expression[silent], atol=2e-3, rtol=0
    )


def test_a_weight_takes_a_part_and_intensity_is_about_the_new_mean(spoken, asked):
    nothing = directed(spoken, asked, [Cue(StyleOf(OTHER, 0.0))])
    assert torch.equal(nothing, spoken.expression)
    half = talking(directed(spoken, asked, [Cue(StyleOf(OTHER, 0.5))]), spoken, asked)
    was = talking(spoken.expression, spoken, asked)
    assert float(half.std() / was.std()) == pytest.approx(0.5**0.5, abs=0.05)
    still = directed(spoken, asked, [Cue(Intensity(0.0)), Cue(StyleOf(OTHER))])
    expected = float(0.67 * (asked.mean - asked.closed) @ asked.opening_axis)
    assert float(talking(still, spoken, asked).mean()) == pytest.approx(expected, abs=0.02)


def test_a_style_is_read_from_bundle_and_track(ada, tracked, tmp_path):
    ada.save(tmp_path / "ada.actor")
    tracked.save(tmp_path / "ada.track.safetensors")
    model, style = shipped_motion_model(), MouthStyle.of_tensors(ada.style)
    driven = Driven(ada, tracked, style, load_face_model(), model)
    asked = [StyleOf(tmp_path / name) for name in ("ada.actor", "ada.track.safetensors")]
    found = talking_styles(asked, driven)
    for one, known in zip(asked, (style, mouth_style(tracked, driven.model)), strict=True):
        closed, mean, spread = model.blended(known)
        torch.testing.assert_close(found[one.path].talking, mean - closed)
        torch.testing.assert_close(found[one.path].spread, spread)
    own = Direction(whole=(Cue(asked[0]),))
    inside = torch.ones(len(tracked), dtype=torch.bool)
    lower = own.expression(tracked.lower_expression, OwnMotion(), driven, Placement(), inside)
    torch.testing.assert_close(lower, tracked.lower_expression, atol=1e-4, rtol=0)  # the actor's own style


def test_a_style_is_said_in_words(tmp_path):
    assert parse_style("a/b.mp4") == StyleOf(Path("a/b.mp4"))
    assert parse_style("a/b.mp4:0.5") == StyleOf(Path("a/b.mp4"), 0.5) and parse_style("c:x.mp4").path == Path(
        "c:x.mp4"
    )
    assert StyleOf(Path("a/b.mp4"), 0.5).told == "style b.mp4:0.5" and StyleOf(Path("a/b.mp4")).told == "style b.mp4"
    with pytest.raises(ConfigError, match="--style b.mp4:2: give a weight from 0"):
        parse_style("b.mp4:2")
    with pytest.raises(DubError, match="gone.mp4: no such file"):
        Direction(whole=(Cue(StyleOf(tmp_path / "gone.mp4")),)).read()
