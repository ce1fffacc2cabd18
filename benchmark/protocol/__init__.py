"""The protocol: adapt to a few attacked images, then attack the adapted model again."""
