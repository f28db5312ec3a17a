"""Tables: columns of files and frames to inputs and classes."""
