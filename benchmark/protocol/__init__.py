"""The protocol: adapt to a few attacked images, then attack the adapted model again."""

VERSION = 1
"""Another number when results change: then what depends on it is made again."""
