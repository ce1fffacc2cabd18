"""How a defender adapts to a few images: the inner loop, its parameters and step sizes."""

VERSION = 1
"""Another number when results change: then what depends on it is made again."""
