"""Every number of a report: statistics over the seeds and cells of a sweep.

``collected`` holds what the cells wrote. ``summaries`` makes all tables of it, with the help of one file per table or
group of tables:

- ``runs``: ``runs``, ``cells_summary``; ``early_dynamics`` with ``departure_time``: ``early_dynamics``,
  ``early_departure``;
- ``features_alignment``: the table of that name; ``stratified_ranks``: ``features_ranks``;
- ``predictions``: the table of that name, with the rank correlations of ``rank_correlation``;
- ``speed_limited`` with ``matched_loss``: ``speed_limited``;
- ``common_steps``: ``loss_checkpoints``, and at which step a mean over seeds is placed.

``study`` prepares these tables for figures and page, ``matrix_albums`` with ``left_bases`` the pictures of matrices;
``chart_points`` and ``chart_data`` do it for ``nfa figure``. ``intervals`` has the mean and 95% interval over seeds,
``above_control`` how far a quantity lies above its control, ``labels`` the short names of cells, ``pooled_settings``
the settings that vary among cells, and ``large_sweeps`` cuts very large sweeps down to what a report needs. A new table
is one function here and one line in ``summaries``.
"""
