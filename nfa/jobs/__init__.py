"""A job as a process of the operating system.

``environment`` chooses device and threads and records provenance; ``preemption`` handles SIGTERM, ``memory`` a lack of
memory, ``progress`` log lines and progress bars; ``exit_codes`` names the exit codes of the command. ``in_fork`` runs
work in a fork of the process, ``private_folder`` and ``temporary_folder`` keep folders among everybody's temporary
files.
"""
