"""The stages of a sweep: they read files, call the library and write files."""
