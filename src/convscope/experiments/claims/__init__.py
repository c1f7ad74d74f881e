"""One claim of the source document a file, each with its `EXPERIMENT`."""
