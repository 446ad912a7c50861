"""What moves the mouth: sources, placement on the frames, controls."""
