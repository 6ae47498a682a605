"""Write the table of quantities in quantities.md from the registry: python docs/generate.py, or make docs."""

from pathlib import Path

from nfa.alignment.quantities.catalogue import markdown_table

PAGE = Path(__file__).parent / "quantities.md"
BEGIN = "<!-- begin of the table made by docs/generate.py -->"
END = "<!-- end of the table made by docs/generate.py -->"


def generated(page: str) -> str:
    """Put the table that the registry gives between the two markers of the page."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{markdown_table()}\n\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(generated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
