"""The builder of HTML escapes all text from data, and undefined numbers are never shown as 0."""

import math

from nfa.report.numbers import interval, number, plus_minus, significant
from nfa.report.page.html import Safe, el

HOSTILE = "<script>alert(1)</script>\"'&"


def test_children_and_attributes_are_escaped() -> None:
    made = el("p", HOSTILE, [HOSTILE, 3], title=HOSTILE)
    assert "<script>" not in made
    assert made.count("&lt;script&gt;") == 3
    assert 'title="&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#x27;&amp;"' in made
    assert el("b", Safe("<i>x</i>")) == "<b><i>x</i></b>"
    assert el("img", src="a", hidden=True, title=None) == '<img src="a" hidden>'


def test_undefined_is_not_zero() -> None:
    assert number(math.nan) == significant(None) == plus_minus(math.nan, math.nan) == "n/a"
    assert number(-0.001) == "0.00"
    assert number(-0.25) == "−0.25"
    assert plus_minus(0.5, math.nan) == "0.50"
    assert plus_minus(0.5, 0.125, 3) == "0.500 ± 0.125"
    assert interval(0.5, 0.25, 1.5, bound=1) == "0.50 [0.25, 1.00]"
    assert interval(0.5, math.nan, math.nan) == "0.50"
