"""The networks as modules, the bundle that holds them, and the device they run on."""
