"""The report page: one HTML file that needs nothing else.

``page.py`` writes the page, ``contents.py`` lists its sections in order, and ``sections/`` holds one file for each
question, with its answer, figures and tables. The sections share ``sentences.py``, ``verdicts.py`` (what lies above its
control, in words) and ``tables.py``. ``html.py`` builds elements, ``svg.py`` draws figures, and ``live.py`` holds the
texts that the page's selector changes. Style and script are in ``assets/``.

To add a question to the report, see ``nfa.report.page.sections``.
"""
