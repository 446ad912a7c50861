"""A way to draw a mouth, a file each; add yours here."""
