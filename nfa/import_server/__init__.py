"""The import server: a process that has imported everything, of which the jobs of one Snakemake are forks.

An interpreter takes three seconds of a core to import torch, pandas and scikit-learn, which is more than the work of a
small cell. The first job of a Snakemake on a machine therefore starts one process that only imports. From then on the
``nfa`` command of a job sends its arguments, working folder, environment and open files to this server; the server
forks, the fork does the work, and the command ends with the exit status of the fork. ``hand_over`` is the side of the
command, ``server`` the side of the server.
"""
