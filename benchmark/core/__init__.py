"""The nouns: batch, threat, attack, defense, and what all of them need."""
