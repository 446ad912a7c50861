"""The synthetic actor, whom adapt renders itself."""
