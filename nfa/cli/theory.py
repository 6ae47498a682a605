"""``nfa theory``: its arguments, and the call that computes. torch is imported only when it runs."""

import argparse
from pathlib import Path

from nfa.cli.arguments import whole
from nfa.errors import UserError

THEORY = "compute the tables of the theory's predictions: C-NFC(0+) of quadratic networks"
DRAWS = whole(1, 10_000, "a number from 1 to 10000")
SEED = whole(0, 2**62 - 1, "a number from 0 to 2**62 - 1")


def add_theory_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``nfa theory``."""
    parser.add_argument("what", choices=("quadratic",), help="quadratic: the first layer of a quadratic network")
    parser.add_argument("--table", choices=("spectrum", "reversing"), help="one of the two tables (default: both)")
    parser.add_argument(
        "--draws", type=DRAWS, default=5, metavar="N", help="number of draws of data and weights (default: 5)"
    )
    parser.add_argument("--seed", type=SEED, default=0, metavar="S", help="seed of the first draw (default: 0)")
    text = "also write mean, standard deviation and interval of every correlation to a .csv or .json file"
    parser.add_argument("--output", type=Path, metavar="FILE", help=text)


def run_theory(options: argparse.Namespace) -> None:
    """Compute and print the tables.

    Raises:
        UserError: The output is neither .csv nor .json, or cannot be written.
    """
    output: Path | None = options.output
    if output is not None and output.suffix not in (".csv", ".json"):
        raise UserError(f"--output {output}: must end in .csv or .json")
    from rich.console import Console

    from nfa.cli.arguments import try_to_write
    from nfa.report.terminal.quadratic import quadratic_summary, quadratic_tables
    from nfa.storage.atomic import write_text
    from nfa.theory import quadratic_draws

    if output is not None:
        try_to_write(output)
    summary = quadratic_summary(quadratic_draws(options.table, options.draws, options.seed))
    for table in quadratic_tables(summary):
        Console().print(table, "")
    if output is not None:
        write_text(
            output, summary.to_csv(index=False) if output.suffix == ".csv" else summary.to_json(orient="records")
        )
