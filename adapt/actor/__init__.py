"""What a fitted actor is: bundle, consent, delta of the renderer."""
