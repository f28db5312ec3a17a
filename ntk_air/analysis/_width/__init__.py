"""Finite width against infinite width."""
