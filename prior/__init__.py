"""What is learnt once from many people: face model, renderer prior, phonetics, audio-to-motion; and their training."""
