"""The content of a published run as plain data, independent of the tracker that it is sent to.

``run`` lays out one run (a cell and a seed) as a ``RunRecord``; ``sweep_run`` lays out the run that summarises a sweep.
Their parts have one file each: ``series`` (metrics over steps), ``summary`` (one value per run), ``tables``,
``pictures``, and ``bundle`` (files that are published unchanged). ``cell_files`` and ``sweep_files`` read the results
that the two kinds of run are made from; the other files read nothing.
"""
