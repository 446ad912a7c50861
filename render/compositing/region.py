"""Region: which part of the new face may be put back. Light to import: the flags read the names."""

#: Widening beyond lips and mouth, px of a 256 px crop; None for everything that may be painted.
MARGIN_PX = {"lips": 12, "mouth": 22, "lower-face": None}
REGIONS = tuple(MARGIN_PX)
#: Where none is named.
DEFAULT_REGION = "lower-face"
