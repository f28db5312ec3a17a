"""The network and the kernel that are studied, of whatever form they are given in."""
