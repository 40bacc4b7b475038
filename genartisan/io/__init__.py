"""Reading and writing pictures, documents and files, with bounded decoding and atomic writes."""
