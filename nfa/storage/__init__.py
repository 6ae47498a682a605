"""Every file of a sweep: where it lies, what format it has, and how it is written and checked."""
