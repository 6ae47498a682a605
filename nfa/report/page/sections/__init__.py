"""The questions of the report page, one in each file.

A file holds everything about its question: the function that answers it in a sentence with numbers, the figures and
tables below, and at its end the object ``SECTION`` that puts them together. ``section.py`` is the frame that all of
them share. Figures themselves are drawn in ``nfa.report.figures``, numbers computed in ``nfa.report.statistics``.

- ``training``: did the sweep train? ``ansatz``: does the ansatz hold here, for directions and for strengths?
- ``layers``, ``alignment_rise``, ``optimizers``: at which layer is alignment strongest, when in training does it rise,
  and for which optimizer and depth is it strongest?
- ``quality``: do better-aligned layers hold better features?
- ``predictions``: was C-NFC predicted at initialisation? ``depth_law`` and ``early_dynamics`` are shown below its
  answer.
- ``speed_limited``: Speed Limited Optimization; ``pictures``: NFM beside AGOP; ``left_basis``, below it: K in the left
  singular basis of the weights.
- ``cells``: every cell with its numbers; ``method``: how the numbers were obtained.

To add a question, write a file like ``layers.py`` here and add its ``SECTION`` to the list in
``nfa/report/page/contents.py``; navigation, overview and selector follow by themselves.
"""
