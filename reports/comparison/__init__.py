"""Two result folders side by side."""
