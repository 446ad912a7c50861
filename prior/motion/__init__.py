"""Audio to motion: style, closures, the predictor, sampling, and whether sound and lips are in step."""
