"""Early stopping of logistic regression that separates noisy labels."""
