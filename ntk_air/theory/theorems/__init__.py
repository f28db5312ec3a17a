"""The theorems, one `check_*` each."""
