"""Training and conversion of a bundle's networks."""
