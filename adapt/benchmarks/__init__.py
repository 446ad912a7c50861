"""Scores of the product: `python -m adapt.benchmarks.NAME`; nothing imports them."""
