"""Scores, intervals and tests: pure functions."""
