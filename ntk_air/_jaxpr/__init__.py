"""Programs that JAX traced, walked: flat lists of steps, linear programs, programs within."""
