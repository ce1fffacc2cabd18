"""What an attacker may do, found from pairs of images before and after: one file a representation.

None of them names a family of attacks: they say how pictures can change, and are prior knowledge
all the same.
"""

VERSION = 4
"""Another number when results change: then what depends on it is made again."""
