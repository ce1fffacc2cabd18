"""What attacks are made of: an iterative search, projections, and exhaustive grids."""

VERSION = 1
"""Another number when results change: then what depends on it is made again."""
