"""Code and networks of the user's own, and packages that need care when they are imported."""
