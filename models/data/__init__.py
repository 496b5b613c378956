"""Data sets as users have them: found, checked, read, split and cached."""
