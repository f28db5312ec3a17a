"""How a kernel is computed: one request, one tiling; to memory, to disk, over a mesh."""
