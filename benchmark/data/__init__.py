"""Data sets: files, checked pixels, and fixed splits."""
