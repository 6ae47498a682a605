"""Experiment trackers: publish the runs of a sweep, read from its result files, to Weights & Biases or MLflow.

A run is one cell and one seed; one further run summarises the whole sweep. A newcomer reads the files in this order:

- ``record/`` turns result files into a ``RunRecord``, the plain data of one run. It knows no tracker.
- ``tracker`` defines ``Tracker``, the interface to an experiment tracker, and its errors.
- ``weights_and_biases/`` and ``mlflow_tracker`` implement ``Tracker``.
- ``destinations`` says where a sweep's runs go: which tracker, which folder, which project.
- ``publication`` publishes all runs of a sweep; ``ledger`` remembers which runs were published, and ``journal`` which
  lines of a run's history were handed to the client.
- ``follower`` is the process that updates W&B runs while a stage works (live curves).

To add a metric, table or picture, edit the file of that name in ``record/`` and raise ``LAYOUT`` in ``record/run``. To
add a panel to the W&B report, edit ``weights_and_biases/report``. To add a tracker, write one class with the methods of
``Tracker`` and one function in ``destinations``.
"""
