"""Scores of what ships: `python -m prior.benchmarks.NAME`; nothing imports them."""
