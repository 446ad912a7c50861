"""The renderer prior: actor frames unwrapped, the prior itself, losses."""
