"""The attack proposes, this decides: verdicts, costs, and what makes a model doubtful."""

VERSION = 1
"""Another number when results change: then what depends on it is made again."""
