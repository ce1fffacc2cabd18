"""AutoAttack (Croce & Hein, 2020): its parts as attacks of their own."""

VERSION = 1
"""Another number when results change: then what depends on it is made again."""
