"""What a sweep found: statistics over seeds, figures, the page, the terminal's table. Imports no torch."""
