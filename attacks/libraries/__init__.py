"""Attacks of other libraries, behind adapters."""
