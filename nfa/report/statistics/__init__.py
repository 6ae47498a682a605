"""Statistics over seeds and cells, on which the figures, the page and the terminal stand."""
