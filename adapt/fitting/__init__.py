"""From an actor's footage to an actor."""
