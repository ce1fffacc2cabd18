"""The summary of a run: console, Markdown and tables."""
