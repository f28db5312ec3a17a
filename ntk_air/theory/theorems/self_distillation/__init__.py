"""Self-distillation converges to clean labels."""
