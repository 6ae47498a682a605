"""The stages of a sweep: each reads files, calls the library and writes files.

``train``, ``measure`` and ``probe`` work on one cell; the last two share their loop over seeds and checkpoints in
``seed_work``. ``aggregate`` joins all cells and writes the report, ``publish`` and ``publish_report`` send runs to
Weights & Biases or MLflow. ``plan`` is what the Snakefile needs before its rules. ``report_so_far`` and ``predict`` are
commands beside the pipeline. To add a stage of a cell, see docs/extend.md.
"""
