"""Teachers: programs and networks that say what a sound is, for training only. Nothing of them ships."""
