"""The sweep file: its settings, their checks, and the cells of its grid. Imports no torch."""
