"""Stopping by the noise level, in Sobolev spaces on the circle."""
