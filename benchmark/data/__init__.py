"""Data sets: files, checked pixels, and fixed splits."""

VERSION = 1
"""Another number when results change: then what depends on it is made again."""
