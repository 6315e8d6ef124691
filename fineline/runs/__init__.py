"""How a pipeline's run ended: its exit handler, `fineline submit --wait` and `retrain`."""
