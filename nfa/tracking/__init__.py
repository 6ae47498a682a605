"""Experiment trackers as views of a sweep's files: what a run holds, and where it goes.

``results`` reads a cell's files, ``record`` turns one run of it into plain data, a ``Tracker`` takes that somewhere,
and ``ledger`` remembers what went where. Only ``wandb_tracker`` knows Weights & Biases.
"""
