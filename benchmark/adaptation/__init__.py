"""How a defender adapts to a few images: the inner loop, its parameters and step sizes."""
