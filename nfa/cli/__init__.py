"""The command ``nfa``: every verb checks its arguments, imports what it uses and calls one function.

``main``                    the parser of all verbs, the exit codes, and the verbs init, expand and schema
``stages``                  train, measure, probe, aggregate and publish: the stages of a sweep
``results``, ``clean``      show, status, report and clean: the verbs that read a sweep's results
``figure``, ``predict``, ``theory``     the verbs of these names
``own_network_arguments``   the options of check and measure for a network of the user's own
``own_network``             run check and measure on such a network
``own_network_samples``     read samples and targets for such a network
``arguments``               arguments of several verbs

A new verb is added to ``command_parser`` in ``main``. Modules that are imported before the verb is known import no
torch, so that ``nfa --help`` is fast.
"""
