"""Where cells run: in this process, in several, or on Ray; limits and progress."""
