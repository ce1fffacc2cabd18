"""Corruptions as weather, cameras and files bring them: at their worst, or as chance draws them."""
