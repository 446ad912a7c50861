"""Splicing: a written file in which stretches of the source's own packets stand beside newly encoded ones."""
