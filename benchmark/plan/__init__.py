"""From what the user asks for to an ordered list of cells, and what they will cost."""
