"""Which labels are wrong, how many, and when to stop: the study behind ``stop`` and ``labels``."""
