"""What attacks are made of: an iterative search, projections, and exhaustive grids."""
