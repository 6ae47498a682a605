"""The figures, one family per file. Each is a list of panels: the page shows them one by one, a file all together."""
