"""Builds the rasterizer ops; everything else is declared in pyproject.toml."""

from setuptools import setup

setup()
