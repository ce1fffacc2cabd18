"""Attacks that are told the class of an image and nothing else, no logits: hard-label black box."""
