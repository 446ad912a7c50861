"""What is learnt once from many people: face model, renderer prior, audio front end, audio-to-motion; how."""
