"""Put the mouth back, leave the rest."""
