"""Words of the stage: what a user may say of motion. Light to import: the flags read them."""

#: What happens where motion is shorter or longer than the shot, see `adapt.motion.placement.motion_at`.
MISMATCH = ("error", "trim", "pad", "hold")
#: In place of what drives: nobody speaks, the mouth stays closed; or the shot's own motion.
SILENCE, OWN = "silence", "source"
#: Factors of `--mouth`: smallest, largest.
MOUTH_RANGE = (0.6, 1.4)
