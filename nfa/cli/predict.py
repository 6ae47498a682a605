"""``nfa predict``: its arguments, and the call that predicts. torch is imported only when it runs."""

import argparse
import os
from pathlib import Path

from nfa.cli.arguments import add_device, positive, whole
from nfa.conventions import CORRELATIONS, POWERS
from nfa.errors import UserError
from nfa.report.numbers import plural

PREDICT = "predict the early C-NFC of every cell and layer of a sweep file, before anything is trained"
SEED = whole(0, 2**31 - 1, "a seed: use a number from 0 to 2**31 - 1")


def add_predict_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``nfa predict``."""
    parser.epilog = (
        "C-NFC is 0/0 at initialisation. Shown is its limit for ever smaller steps, for gradient flow and along the "
        "first full-batch step of each optimizer, beside its control along the same direction (K turned at random), "
        "and the directional factor of C-NFC beside its own. The sweep has them as rows c_nfc, c_haar_nfc, "
        "c_directional and c_directional_haar at step 0; along the first step their names end in _update."
    )
    parser.add_argument("--cells", nargs="+", metavar="ID", help="ids of the cells to predict (default: all)")
    parser.add_argument("--seeds", nargs="+", type=SEED, metavar="S", help="seeds (default: the sweep's)")
    parser.add_argument(
        "--correlation", choices=CORRELATIONS, default="cosine", help="the correlation that is shown (default: cosine)"
    )
    parser.add_argument("--power", choices=POWERS, default="1", help="the power of the AGOP that is shown (default: 1)")
    text = "write all quantities, correlations and powers of all seeds to a .csv or .parquet table"
    parser.add_argument("--output", type=Path, metavar="FILE", help=text)
    parser.add_argument("--threads", type=positive, default=1, help="number of threads (default: 1, as in a sweep)")
    add_device(parser)


def run_predict(options: argparse.Namespace) -> None:
    """Predict, show the table, and write it if ``--output`` is given.

    Raises:
        UserError: An argument or the sweep file is wrong.
    """
    output: Path | None = options.output
    if output is not None and output.suffix not in (".csv", ".parquet"):
        raise UserError(f"--output {output}: must end in .csv or .parquet")
    # BLAS and OpenMP read these variables when numpy and torch are imported, which happens below.
    os.environ.update({f"{library}_NUM_THREADS": str(options.threads) for library in ("OMP", "MKL", "OPENBLAS")})
    from nfa.sweep.grid import load

    sweep = load(options.config, options.size)
    cells = [sweep.cell(name) for name in dict.fromkeys(options.cells)] if options.cells else list(sweep.cells)
    seeds = list(dict.fromkeys(options.seeds)) if options.seeds else list(sweep.seeds)

    from rich.console import Console

    from nfa.cli.arguments import try_to_write
    from nfa.conventions import Convention
    from nfa.external.users_code import of_users_code
    from nfa.jobs.environment import choose_device, set_threads
    from nfa.report.terminal.predictions import prediction_report
    from nfa.stages.predict import predict, write_predictions

    if output is not None:
        try_to_write(output)
    set_threads(options.threads)
    with of_users_code("predict"):
        table = predict(sweep, cells, seeds, choose_device(options.device))
    console = Console()
    console.print(prediction_report(sweep, table, Convention(options.correlation, options.power), console.width))
    if output is not None:
        write_predictions(output, table)
        print(f"{output}: written, {plural(len(table), 'row')}")
