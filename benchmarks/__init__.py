"""Benchmarks of ntk_air beside other tools and beside what the machine can do at most."""
