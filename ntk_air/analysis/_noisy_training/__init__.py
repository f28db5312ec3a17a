"""Training by one method on one noise: seeds, and the record on held-out noisy labels."""
