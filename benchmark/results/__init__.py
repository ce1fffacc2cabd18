"""What is written down: records, their files, pictures and tensors. Needs no torch to read."""
