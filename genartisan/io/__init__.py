"""Pictures, documents and files: read, decoded within bounds, written whole."""
