"""Can a robust accuracy be believed: what is looked for in a model, its attacks, its adaptation."""
