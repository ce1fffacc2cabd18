"""The nouns: batch, threat, attack, defense, and what all of them need."""

VERSION = 1
"""Another number when results change: then what depends on it is made again."""
