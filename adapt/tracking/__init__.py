"""Where the head is, in every frame."""
