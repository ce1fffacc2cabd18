"""Networks by name, published ones included."""
