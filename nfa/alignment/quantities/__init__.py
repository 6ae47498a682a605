"""Numbers from W and K: correlations, controls, spectra, powers, and their errors."""
