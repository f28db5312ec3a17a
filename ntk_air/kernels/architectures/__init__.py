"""What kernel: named architectures, each a program of features and tiles."""
