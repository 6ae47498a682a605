"""The results of a sweep for people: statistics over seeds, figures, the report page, tables for the terminal.

- ``numbers``: how a number, an interval or a count is written, everywhere in the report.
- ``statistics``: every number: the tables over cells and seeds, and ``Study``, in which figures and page look up.
- ``figures``: drawings of these numbers; they compute no statistic and know no page.
- ``terminal``: tables and sentences that the ``nfa`` command prints.
- ``page``: report.html, one file per section, with all of its sentences.

A new statistic goes into ``statistics``, and if it is a table of its own into ``statistics/summaries.py``; a new figure
into ``figures``, a new section of the page into ``page.sections`` (see their docstrings). The W&B Report is built in
``nfa/tracking/weights_and_biases/report.py``. Nothing here imports torch.
"""
