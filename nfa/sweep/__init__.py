"""The sweep file: it is read, checked and expanded to the cells of its grid. Nothing here imports torch.

``grid``                        read and check a whole file: ``load``, ``parse``
``read_yaml``, ``explain``      read YAML safely; explain a wrong setting in one line
``stage_settings``              the settings of train, measure, probe and wandb; a new setting of them is added here
``sizes``, ``command_line_config``      the sizes of a file; settings from Snakemake's command line
``axes``, ``axis_points``       expand an axis to its points; a point with its entry in the registry
``combine``, ``checks``         combine points to cells; checks that involve several axes
``cells``                       ``Cell`` and ``Sweep``, the ids of cells and the hashes of their stages
``estimate``                    time and disk space of a cell
``origin``                      the sweep file that results come from
``schema``                      the JSON schema of the sweep file

A new data set, model or optimizer is added in ``nfa.data``, ``nfa.models`` or ``nfa.optim``, not here.
"""
