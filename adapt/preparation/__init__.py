"""Footage of many people made ready for training."""
