"""Figures of a sweep: they draw the numbers of ``nfa.report.statistics`` and know nothing of the page.

Most figures are a list of panels (``panels.py``). The page shows the panels one by one, as SVG whose marks follow the
selector of the convention; ``files.py`` writes all panels of a figure to one SVG and one PNG file. There is one file
per figure:

- ``training``: test loss over steps; ``ansatz``: directional factor and UC-NFC with controls; ``curves``: over steps;
- ``depth``, ``heatmap``: by depth from the output; ``probing``, ``features_ranks``: against feature quality;
- ``predicted``, ``depth_law``, ``early``: against theory; ``raised_layers``: Speed Limited Optimization;
- ``matrices``: pictures of NFM and AGOP; ``chart``: the figure that ``nfa figure`` draws.

``early`` and ``raised_layers`` differ from the others: the panels of ``early`` are in groups, ``raised_layers`` takes
the matched cells as well, and its files are called ``speed_limited``: see ``FIGURES`` in ``files.py``. Those of
``features_ranks`` are called ``quality``.

``style.py`` holds colours and axes that figures share, ``saving.py`` writes files. To add a figure, write a file with
``panels(study) -> list[Panel]`` and name it in ``FIGURES`` of ``files.py``; numbers that it needs belong in
``nfa.report.statistics``.
"""
