"""The head: camera, face model type, motion and track types."""
