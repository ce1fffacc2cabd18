"""What defenses share: the training loop, snapshots to go on from, weights to start from."""
