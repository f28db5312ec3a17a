"""Anisotropic information retrieval recorded over any training loop."""
