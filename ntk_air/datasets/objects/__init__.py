"""Datasets of other libraries, which are not imported: what they are is told by what they can."""
