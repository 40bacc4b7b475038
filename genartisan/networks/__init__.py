"""The networks as modules, the bundles that hold them, and devices."""
