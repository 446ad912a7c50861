"""Trainers: `python -m prior.training.NAME`; nothing that ships imports them."""
