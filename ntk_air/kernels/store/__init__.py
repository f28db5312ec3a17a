"""Kernels on disk: the format, what writes it and what reads it."""
