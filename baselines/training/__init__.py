"""What defenses share: the training loop, snapshots to go on from, weights to start from."""

VERSION = 1
"""Another number when results change: then what depends on it is made again."""
