"""The training loop: one compiled engine for every method."""
