"""What the theorems speak of: clusterable data, and the two-layer network on them."""
