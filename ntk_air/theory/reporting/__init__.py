"""How a theorem is reported: checks, scaling laws, and cells that are kept on disk."""
