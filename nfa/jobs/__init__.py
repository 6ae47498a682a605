"""A job is one ``nfa`` command that Snakemake starts: its device, signals, memory, progress, temporary folders.

``environment`` chooses device and threads and records provenance; ``preemption`` handles SIGTERM, ``memory`` a lack of
memory, ``progress`` log lines and progress bars; ``exit_codes`` names the exit codes of the command. ``in_fork`` runs
work in a fork of the process. ``private_folder`` keeps folders that only this user can use among the temporary files of
all users; ``temporary_folder`` gives a fork one of them for its temporary files.
"""
