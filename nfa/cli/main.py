"""The ``nfa`` command: the parser of all its verbs, and the exit codes."""

import argparse
import errno
import os
import re
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

from nfa.cli.arguments import add_device, positive, sweep_folder
from nfa.cli.figure import FIGURE, add_figure_arguments, run_figure
from nfa.cli.own_network_arguments import (
    CHECK,
    add_check_arguments,
    add_network_arguments,
    run_check,
)
from nfa.cli.predict import PREDICT, add_predict_arguments, run_predict
from nfa.cli.results import clean_command, report_command, show_command, status_command
from nfa.cli.stages import CELL_STAGES, aggregate_command, cell_stage_command, publish_command, seconds_argument
from nfa.cli.theory import THEORY, add_theory_arguments, run_theory
from nfa.errors import Preempted, UserError, cut, describe
from nfa.jobs.exit_codes import INTERRUPTED, PREEMPTED

# Full disk or quota, file larger than allowed, read-only disk, missing permission.
NO_WRITING = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES})
EPILOG = """\
A sweep from nothing to its report:
  nfa init my.yaml                      write a commented sweep file to start from
  nfa expand my.yaml                    show its cells, with estimated time and disk space
  nfa predict my.yaml                   predict the early C-NFC of every layer, before anything is trained
  snakemake --cores 2 --configfile my.yaml
  nfa show results/my                   show the summary; the full report is results/my/report.html
  nfa figure results/my --out my.png    draw the quantities that you choose, and print the numbers

A network of your own, made by a function in my_models.py:
  nfa measure my_models:make --weights trained.safetensors --data images.npz
  nfa check my_models:make --input-shape 3,32,32

The workflow calls the stages train, measure, probe, aggregate and publish. You can also call each of them by hand.
"""


def run(arguments: Sequence[str]) -> int:
    """Run the command in this process.

    Returns:
        The exit code: 0 done; 1 a check failed; 2 a mistake of the user, with one line on standard error; 69 not every
        run could be published; 75 stopped by SIGTERM with the work saved; 130 interrupted by Ctrl-C.
    """
    options = command_parser().parse_args(arguments)
    try:
        return options.run(options) or 0
    except UserError as error:
        print(f"nfa: {error}", file=sys.stderr)
        return 2
    except Preempted as stopped:
        print(f"nfa: {stopped}; the same command goes on from there", file=sys.stderr)
        return PREEMPTED
    except BrokenPipeError:  # `nfa expand | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except SystemExit as left:  # the user's code, outside every guard; argparse exits before this block
        print(f"nfa: your code raised {describe(left)}", file=sys.stderr)
        return 2
    except OSError as error:  # a full disk, a folder that is a file, no permission
        kept = "; finished work is kept, the same command goes on from it" if error.errno in NO_WRITING else ""
        print(f"nfa: {error.filename or 'input or output'}: {error.strerror or error}{kept}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("nfa: interrupted; finished work is kept, the same command goes on from it", file=sys.stderr)
        return INTERRUPTED
    return 0


class _Parser(argparse.ArgumentParser):
    """A parser that reports a mistake in one line."""

    def error(self, message: str) -> NoReturn:
        """Print the error and point to --help."""
        message = re.sub(r"\S{81,}", lambda word: cut(word[0]), message)
        self.exit(2, f"{self.prog}: {message}; see `{self.prog} --help`\n")


@cache
def command_parser() -> argparse.ArgumentParser:
    """Build the parser of all verbs."""
    from nfa import __version__

    parser = _Parser(
        prog="nfa",
        description="Sweep, train and measure networks: do weights align with the average gradient outer product?",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"nfa {__version__}")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)

    verb = _verb(verbs, "init", "write a commented sweep file to start from", _init)
    verb.add_argument("config", type=Path, help="the file to write; an existing file is never overwritten")
    verb = _sweep_verb(verbs, "expand", "show the cells of a sweep file, with estimated time and disk space", _expand)
    verb.add_argument(
        "--tsv", action="store_true", help="print only a tab-separated table with every parameter of every cell"
    )

    verb = _sweep_verb(verbs, "predict", PREDICT, run_predict)
    add_predict_arguments(verb)

    add_check_arguments(_verb(verbs, "check", CHECK, run_check))
    add_theory_arguments(_verb(verbs, "theory", THEORY, run_theory))

    for name, text in CELL_STAGES.items():
        verb = _stage(verbs, name, text, cell_stage_command)
        verb.set_defaults(stage=name)
        verb.add_argument(
            "--cells",
            nargs="+",
            metavar="ID",
            help="ids of the cells to work on, as `nfa expand` shows them (default: all)",
        )
        verb.add_argument(
            "--threads",
            type=positive,
            help="number of threads; results can differ in the last bits between numbers (default: 1)",
        )
        verb.add_argument(
            "--cores",
            type=positive,
            help="work on so many seeds side by side, with the same results; a single seed uses so many threads",
        )
        add_device(verb)
        text = "save unfinished work every so many seconds, so that a kill loses no more than that (default: 20)"
        verb.add_argument("--save-every", type=seconds_argument, metavar="SECONDS", help=text)
        if name == "measure":
            add_network_arguments(verb)
    _stage(verbs, "aggregate", "join the results of all cells: tables, figures, report.html", aggregate_command)
    text = "publish every run to Weights & Biases (offline by default); run it again to publish what is missing"
    verb = _stage(verbs, "publish", text, publish_command)
    either = verb.add_mutually_exclusive_group()  # a report is about an aggregated sweep
    text = "also create or update the sweep's report on the W&B server"
    either.add_argument("--report", action="store_true", help=text)
    text = "publish only the runs of the cells, not the run of the whole sweep, which needs `nfa aggregate` first"
    either.add_argument("--runs-only", action="store_true", help=text)
    text = "mlflow publishes to an MLflow store beside the results, not to W&B (default: wandb)"
    verb.add_argument("--tracker", choices=["wandb", "mlflow"], default="wandb", help=text)

    verb = _verb(verbs, "show", "show the summary table of an aggregated sweep", show_command)
    verb.add_argument("results", type=sweep_folder, help="folder of a sweep, e.g. results/default")
    for name, text, run in (
        ("status", "show which cells of a sweep are done, running, failed or still to do", status_command),
        ("report", "write a report on the cells of a sweep that are done so far", report_command),
    ):
        verb = _verb(verbs, name, text, run)
        verb.add_argument("results", type=sweep_folder, help="folder of a sweep, e.g. results/default")
    add_figure_arguments(_verb(verbs, "figure", FIGURE, run_figure))
    verb = _verb(
        verbs,
        "clean",
        "list cells in the results that are in none of the sweep files; --remove deletes them",
        clean_command,
    )
    verb.add_argument("configs", type=Path, nargs="+", metavar="CONFIG", help="every sweep file whose cells are kept")
    verb.add_argument("--results", type=Path, default=Path("results"), help="results folder (default: results)")
    verb.add_argument("--remove", action="store_true", help="delete the listed cells")
    verb = _verb(verbs, "schema", "print the JSON schema of the sweep file, for editors", _schema)
    return parser


def _verb(verbs: Any, name: str, text: str, run: Any) -> argparse.ArgumentParser:
    """Add a verb to the parser."""
    parser: argparse.ArgumentParser = verbs.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    parser.set_defaults(run=run)
    return parser


def _sweep_verb(verbs: Any, name: str, text: str, run: Any) -> argparse.ArgumentParser:
    """Add a verb that reads a sweep file."""
    parser = _verb(verbs, name, text, run)
    parser.add_argument("config", type=Path, help="sweep file (YAML)")
    parser.add_argument(
        "--size",
        metavar="NAME",
        help="one of the file's `sizes` (default: the file's `size` if it has one, or the file as written)",
    )
    return parser


def _stage(verbs: Any, name: str, text: str, run: Any) -> argparse.ArgumentParser:
    """Add a verb that works on the results of a sweep file."""
    parser = _sweep_verb(verbs, name, text, run)
    parser.add_argument(
        "--results", type=Path, default=Path("results"), help="folder of all results (default: results)"
    )
    return parser


def _init(options: argparse.Namespace) -> None:
    from nfa.cli.init import write_starter

    write_starter(options.config)
    print(f"{options.config}: written. Next: nfa expand {options.config}")


def _expand(options: argparse.Namespace) -> None:
    from nfa.report.terminal.expansion import print_expansion
    from nfa.storage.documents import cells_frame
    from nfa.sweep.grid import load

    sweep = load(options.config, options.size)
    if options.tsv:
        cells_frame(sweep).to_csv(sys.stdout, sep="\t", index=False)
    else:
        print_expansion(sweep)


def _schema(options: argparse.Namespace) -> None:
    from nfa.sweep.schema import schema_text

    print(schema_text(), end="")


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
