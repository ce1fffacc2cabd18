"""Meta-training: tasks, algorithms and the loop behind `baselines.meta_adv`."""
