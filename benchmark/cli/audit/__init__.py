"""`audit`: can a robust accuracy be believed."""
