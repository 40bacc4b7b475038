"""Official weights: where they are, their download, and their conversion into a bundle."""
