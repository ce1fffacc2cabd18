"""From records to tidy tables."""
