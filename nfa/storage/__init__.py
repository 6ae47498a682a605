"""The files of a sweep: their paths, their formats, and how they are written and checked.

``paths`` has every path below results/. ``atomic`` writes a file whole or not at all, ``locks`` keeps processes apart.
``tables``, ``columns``, ``arrays``, ``checkpoints`` and ``documents`` read and write one format each.
``finished_seeds`` and ``partial_table`` keep finished and unfinished work, so that nothing is computed twice.
``checks`` refuses files that do not fit the sweep, ``stale`` finds them for Snakemake, and ``status`` describes the
state of a sweep. To add a file, give it a path in ``paths`` and a function that writes it through ``atomic.replacing``.
"""
