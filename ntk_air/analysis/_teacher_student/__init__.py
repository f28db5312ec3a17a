"""Students of a teacher stopped at many times."""
