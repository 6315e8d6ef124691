"""MLflow runs: the connection, the journal that loses nothing, the tags. Every step from train on uses it."""
