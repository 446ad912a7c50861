"""The face model: which points are what, and the shipped weights."""
