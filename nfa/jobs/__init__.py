"""A job as the operating system sees it: processes, exit codes, memory, preemption, progress."""
