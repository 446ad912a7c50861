"""What `adapt prepare` writes and training reads."""
