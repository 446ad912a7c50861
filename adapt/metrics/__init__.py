"""Scores: pure functions of pictures and openings."""
