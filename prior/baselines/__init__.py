"""Networks of other methods, re-implemented."""
