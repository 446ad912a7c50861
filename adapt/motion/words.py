"""Words of the stage: what a user may say of motion. Light to import: the flags read them."""

import math
import re

from adapt.config import meant
from render.errors import ConfigError

#: What happens where motion is shorter or longer than the shot, see `adapt.motion.placement.motion_at`.
MISMATCH = ("error", "trim", "pad", "hold")
#: In place of what drives: nobody speaks, the mouth stays closed; or the shot's own motion.
SILENCE, OWN = "silence", "source"
#: Controls that are a factor → the smallest and the largest.
FACTORS = {"mouth": (0.6, 1.4), "intensity": (0.0, 2.0), "lips": (0.0, 2.0), "jaw": (0.0, 2.0)}
#: Parts of the face that have a weight.
WEIGHTED = ("lips", "jaw")
#: What a mouth may show; neutral, which changes nothing, or an emotion that was learnt (`prior.motion.emotion`).
NEUTRAL, EMOTIONS = "neutral", ("happy", "angry")
#: By so many seconds at most motion may be moved against its sound within a shot.
LONGEST_SHIFT_SECONDS = 0.5


def refuse_factor(name: str, value: float, told: str | None = None) -> float:
    """The value of a control of `FACTORS`, told as `--name` unless otherwise; raises `ConfigError`."""
    least, most = FACTORS[name]
    if not least <= value <= most:
        raise ConfigError(f"{told or f'--{name}'} {value:g}: give a factor from {least:g} to {most:g}")
    return value


def parse_weights(text: str, told: str = "--weights") -> dict[str, float]:
    """`lips=1.5,jaw=0.8`, with commas, semicolons or spaces between, as part → factor; raises `ConfigError`."""
    weights = {}
    for word in re.split(r"[,;\s]+", text.strip()):
        name, mark, number = word.partition("=")
        try:
            value = float(number)
        except ValueError:
            mark = ""
        if not mark or name not in WEIGHTED or name in weights:
            raise ConfigError(f"{told} {text}: give factors of {' and '.join(WEIGHTED)}, such as lips=1.5,jaw=0.8")
        weights[name] = refuse_factor(name, value, f"{told} {name}")
    return weights


def parse_emotion(text: str, told: str = "--emotion") -> tuple[str, float]:
    """`happy` or `happy:0.6` as word and strength, `neutral` with strength 0; raises `ConfigError`."""
    word, mark, number = text.strip().partition(":")
    if word not in (NEUTRAL, *EMOTIONS):
        near = meant(word, (NEUTRAL, *EMOTIONS))
        hint = f"did you mean {near}?" if near else f"choose one of {', '.join((NEUTRAL, *EMOTIONS))}"
        raise ConfigError(f"{told} {text}: {hint}")
    try:
        strength = float(number) if mark else 1.0
    except ValueError:
        strength = math.nan
    if not 0 <= strength <= 1:
        raise ConfigError(f"{told} {text}: give a strength from 0 (neutral) to 1, such as {word}:0.6")
    return word, 0.0 if word == NEUTRAL else strength
