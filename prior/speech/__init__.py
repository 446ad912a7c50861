"""Speech: sound, its features, its loudness, phonemes and phonetic posteriors."""
