"""Figures of a sweep: they draw the numbers of ``nfa.report.statistics`` and know nothing of the page.

Most figures are a list of panels (``panels.py``). The page shows the panels one by one, as SVG whose marks follow the
selector of the convention; ``files.py`` writes all panels of a figure to one SVG and one PNG file. There is one file
per figure:

- ``training``: test loss over steps; ``ansatz``: directional factor and UC-NFC with controls; ``curves``: over steps;
- ``depth``, ``heatmap``: by depth from the output; ``probing``, ``features_ranks``: against feature quality;
- ``predictions``, ``depth_law``, ``early``: against theory; ``speed_limited``: Speed Limited Optimization;
- ``matrices``: pictures of NFM and AGOP; ``left_bases``: K in the left singular basis of the weights; ``chart``: the
  figure that ``nfa figure`` draws.

``early`` and ``speed_limited`` differ from the others: the panels of ``early`` are in groups, and ``speed_limited``
takes the matched cells as well: see ``FIGURES`` in ``files.py``. The files of ``features_ranks`` are called
``quality``, the others as the figure is.

``style.py`` holds colours and axes that figures share, ``saving.py`` writes files. To add a figure, write a file with
``panels(study) -> list[Panel]`` and name it in ``FIGURES`` of ``files.py``; numbers that it needs belong in
``nfa.report.statistics``.
"""
