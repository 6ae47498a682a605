"""Tables and sentences that the ``nfa`` command prints, laid out with ``rich`` for the width of the terminal.

There is one file per verb: ``summary`` for ``nfa show``, ``expansion`` for ``nfa expand``, ``predictions`` for
``nfa predict``, ``network`` for ``nfa check`` and for ``nfa measure`` on a network of the user's own, ``quadratic`` for
``nfa theory``, and ``chart`` for ``nfa figure``. Numbers are written by ``nfa.report.numbers``.
"""
