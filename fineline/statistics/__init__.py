"""Statistics that several steps need: promote and monitor."""
