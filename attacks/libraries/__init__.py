"""Attacks of other libraries, behind adapters."""

VERSION = 1
"""Another number when results change: then what depends on it is made again."""
