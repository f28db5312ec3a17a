"""What is left of noise in the limit of self-distillation: the floor in l2."""
