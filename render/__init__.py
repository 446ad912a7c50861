"""Camera, face model and motion types, G-buffer, neural texture, renderer, composite, video in and out, storage."""
