"""Kernels of networks of finite width: in tiles, layer by layer, and as an operator."""
