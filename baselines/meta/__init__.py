"""Meta-training: tasks, algorithms and the loop behind `baselines.meta_adv`."""

VERSION = 1
"""Another number when results change: then what depends on it is made again."""
