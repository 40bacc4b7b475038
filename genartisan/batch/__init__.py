"""Many pictures: what is to be made, under which names, and the work of one. Knows nothing of Ray."""
