"""Squares and borders that are painted over a picture, whatever stands beneath them."""
