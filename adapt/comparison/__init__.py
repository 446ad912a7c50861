"""Methods beside each other: enrollment, held-out frames, lanes, tables."""
