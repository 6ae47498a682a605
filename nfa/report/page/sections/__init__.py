"""The questions of the report page, one in each file.

A file holds everything about its question: the function that answers it in a sentence with numbers, the figures and
tables below, and at its end the object ``SECTION`` that puts them together. ``section.py`` is the frame that all of
them share. Figures themselves are drawn in ``nfa.report.figures``, numbers computed in ``nfa.report.statistics``.

To add a question, write a file like ``layers.py`` here and add its ``SECTION`` to the list in
``nfa/report/page/contents.py``; navigation, overview and selector follow by themselves.
"""
