"""The ``nfa`` command: thin; each verb checks its arguments, imports what it uses and calls one function."""

import argparse
import errno
import os
import re
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from nfa.arguments import positive, sweep_folder
from nfa.errors import UserError, cut, told
from nfa.figure_cli import FIGURE, add_figure_arguments, run_figure
from nfa.measuring_cli import (
    CHECK,
    add_check_arguments,
    add_own_arguments,
    is_own,
    refuse_own,
    run_check,
    run_measure,
)
from nfa.predicting_cli import PREDICT, add_predict_arguments, run_predict
from nfa.stages.preemption import PREEMPTED, Preempted, leave_at_once
from nfa.theory_cli import THEORY, add_theory_arguments, run_theory
from nfa.warm import INTERRUPTED

if TYPE_CHECKING:
    from nfa.sweep import Sweep

# A full disk or quota, a file larger than allowed, a disk that can only be read, a permission lost.
NO_WRITING = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES})
EPILOG = """\
A sweep from nothing to its report:
  nfa init my.yaml                      write a commented sweep file to start from
  nfa expand my.yaml                    the cells it means, with estimated time and disk
  nfa predict my.yaml                   the early C-NFC of every layer, before anything is trained
  snakemake --cores 2 --configfile my.yaml
  nfa show results/my                   the summary; the full report is results/my/report.html
  nfa figure results/my --out my.png    what you choose to compare, drawn, and its numbers

A network of your own, made by a function in my_models.py:
  nfa measure my_models:make --weights trained.safetensors --data images.npz
  nfa check my_models:make --input-shape 3,32,32

The stages train, measure, probe (all three of a cell: stages), aggregate and publish are what the workflow calls; each
can be called by hand.
"""


def run(arguments: Sequence[str]) -> int:
    """Run the command here; return its exit code.

    0 done, 1 a check that failed, 2 a mistake in what was given (one line on stderr), 75 told to stop (SIGTERM): saved.
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
    except SystemExit as left:  # code of the user's that no guard was around; argparse leaves above
        print(f"nfa: code of yours raised {told(left)}", file=sys.stderr)
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
    """Answers a mistake in one line."""

    def error(self, message: str) -> NoReturn:
        """Say it, and where more stands."""
        message = re.sub(r"\S{81,}", lambda word: cut(word[0]), message)
        self.exit(2, f"{self.prog}: {message}; see `{self.prog} --help`\n")


@cache
def command_parser() -> argparse.ArgumentParser:
    """Describe every verb."""
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
    verb.add_argument("config", type=Path, help="file to write; an existing one is never overwritten")
    verb = _sweep_verb(verbs, "expand", "show the cells of a sweep file, with estimated time and disk", _expand)
    verb.add_argument(
        "--tsv", action="store_true", help="every parameter of every cell, tab-separated, and nothing else"
    )

    verb = _sweep_verb(verbs, "predict", PREDICT, run_predict)
    add_predict_arguments(verb)

    add_check_arguments(_verb(verbs, "check", CHECK, run_check))
    add_theory_arguments(_verb(verbs, "theory", THEORY, run_theory))

    for name, text in _CELL_STAGES.items():
        verb = _stage(verbs, name, text, _cell_stage)
        verb.set_defaults(stage=name)
        verb.add_argument(
            "--cells", nargs="+", metavar="ID", help="cells to work on (default: all), ids as `nfa expand` shows"
        )
        verb.add_argument("--threads", type=positive, help="threads; part of what fixes a sweep's bits (default: 1)")
        verb.add_argument(
            "--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: auto (CUDA if there)"
        )
        text = "save work under way this often, so that a kill loses no more (default: 20)"
        verb.add_argument("--save-every", type=_seconds, metavar="SECONDS", help=text)
        if name == "measure":
            add_own_arguments(verb)
    _stage(verbs, "aggregate", "join all cells: tables, figures, report.html", _aggregate)
    text = "publish every run to Weights & Biases (offline by default); repeat it to catch up"
    verb = _stage(verbs, "publish", text, _publish)
    either = verb.add_mutually_exclusive_group()  # a report is about an aggregated sweep
    text = "also make or update the sweep's report on the W&B server"
    either.add_argument("--report", action="store_true", help=text)
    text = "the cells' runs alone, not the run that stands for the sweep, which needs `nfa aggregate` first"
    either.add_argument("--runs-only", action="store_true", help=text)
    text = "mlflow: publish to an MLflow store beside the results instead (default: wandb)"
    verb.add_argument("--tracker", choices=["wandb", "mlflow"], default="wandb", help=text)

    verb = _verb(verbs, "show", "show the summary table of an aggregated sweep", _show)
    verb.add_argument("results", type=sweep_folder, help="folder of a sweep, e.g. results/default")
    for name, text, run in (
        ("status", "show what of a sweep is done, running, failed and to go", _status),
        ("report", "report on the cells of a sweep that are done so far", _report),
    ):
        verb = _verb(verbs, name, text, run)
        verb.add_argument("results", type=sweep_folder, help="folder of a sweep, e.g. results/default")
    add_figure_arguments(_verb(verbs, "figure", FIGURE, run_figure))
    verb = _verb(
        verbs, "clean", "list cells in results that no sweep file names any more; --remove deletes them", _clean
    )
    verb.add_argument(
        "configs", type=Path, nargs="+", metavar="CONFIG", help="every sweep file whose cells are to be kept"
    )
    verb.add_argument("--results", type=Path, default=Path("results"), help="results folder (default: results)")
    verb.add_argument("--remove", action="store_true", help="delete what is listed")
    verb = _verb(verbs, "schema", "print the JSON schema of the sweep file, for editors", _schema)
    return parser


_CELL_STAGES = {
    "train": "train all seeds of cells: checkpoints, history.parquet, cell.json",
    "measure": "measure a network of your own, or every checkpoint of a sweep: alignment.parquet, matrices.npz",
    "probe": "probe every layer's features at every checkpoint: probes.parquet",
    "stages": "train, measure and probe cells, one after the other in one process",
}


def _verb(verbs: Any, name: str, text: str, run: Any) -> argparse.ArgumentParser:
    """Add a verb."""
    parser: argparse.ArgumentParser = verbs.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    parser.set_defaults(run=run)
    return parser


def _sweep_verb(verbs: Any, name: str, text: str, run: Any) -> argparse.ArgumentParser:
    """Add a verb that reads a sweep file."""
    parser = _verb(verbs, name, text, run)
    parser.add_argument("config", type=Path, help="sweep file (YAML)")
    parser.add_argument("--size", metavar="NAME", help="one of the file's `sizes` (default: its `size`, or as written)")
    return parser


def _stage(verbs: Any, name: str, text: str, run: Any) -> argparse.ArgumentParser:
    """Add a verb that works on the results of a sweep file."""
    parser = _sweep_verb(verbs, name, text, run)
    parser.add_argument("--results", type=Path, default=Path("results"), help="results folder (default: results)")
    return parser


def _seconds(text: str) -> float:
    """Parse a time in seconds."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds, 0 or more")
    return seconds


def _init(options: argparse.Namespace) -> None:
    from nfa.stages.init import write_starter

    write_starter(options.config)
    print(f"{options.config}: written. Next: nfa expand {options.config}")


def _expand(options: argparse.Namespace) -> None:
    from nfa.stages.documents import cells_frame
    from nfa.stages.estimate import print_expansion
    from nfa.sweep import load

    sweep = load(options.config, options.size)
    if options.tsv:
        cells_frame(sweep).to_csv(sys.stdout, sep="\t", index=False)
    else:
        print_expansion(sweep)


def _cell_stage(options: argparse.Namespace) -> int | None:
    if options.stage == "measure":
        if is_own(str(options.config)):
            return run_measure(options)
        refuse_own(options)
    leave_at_once()
    threads = options.threads or 1
    # BLAS and OpenMP read these when numpy and torch are imported, which is below.
    os.environ.update({f"{library}_NUM_THREADS": str(threads) for library in ("OMP", "MKL", "OPENBLAS")})
    from importlib import import_module

    from nfa.origin import PLAN
    from nfa.stages.environment import choose_device, set_threads
    from nfa.stages.follow import followed
    from nfa.stages.memory import enough_memory
    from nfa.sweep import STAGES, load_cells
    from nfa.users_code import of_users_code

    if options.cells and options.config.name == PLAN:
        sweep = load_cells(options.config, options.cells)
    else:
        sweep = _own_results(options)
    cells = [sweep.cell(name) for name in options.cells] if options.cells else list(sweep.cells)
    set_threads(threads)
    device = choose_device(options.device)
    names = STAGES if options.stage == "stages" else (options.stage,)
    stages = {name: getattr(import_module(f"nfa.stages.{name}"), name) for name in names}  # each imports what it uses
    more = {} if options.save_every is None else {"save_seconds": options.save_every}
    with followed(sweep, cells, options.results):
        for cell in cells:
            for name, stage in stages.items():
                with of_users_code(f"{name} {cell.id}"), enough_memory(name, sweep, cell):
                    stage(sweep, cell, options.results, device, **more)
    return None


def _aggregate(options: argparse.Namespace) -> None:
    from nfa.locks import waiting_lock
    from nfa.paths import SweepPaths
    from nfa.report.terminal import print_summary
    from nfa.stages.aggregate import aggregate
    from nfa.stages.documents import write_cells, write_provenance

    sweep = _own_results(options)
    paths = SweepPaths(_existing(options.results / sweep.name))
    # An orphan of a killed Snakemake may still be writing.
    with waiting_lock(paths.folder / ".aggregate.lock", f"aggregate: another process works on {paths.folder}"):
        aggregate(sweep, options.results)
        write_cells(sweep, paths)
        write_provenance(sweep, paths, sys.argv)
    print_summary(paths.folder)


def _own_results(options: argparse.Namespace) -> "Sweep":
    """Read the sweep file, or the plan, of a stage.

    Raises:
        UserError: It cannot be run, or the results of its name are those of another sweep file.
    """
    from nfa.paths import SweepPaths
    from nfa.stages.stale import check_name
    from nfa.sweep import load

    sweep = load(options.config, options.size)
    check_name(sweep, SweepPaths(options.results / sweep.name))
    return sweep


def _remark(results: Path) -> None:
    """Warn, on standard error, where results are not of their sweep file as it is now."""
    from nfa.paths import SweepPaths
    from nfa.stages.stale import remarks

    for line in remarks(SweepPaths(results)):
        print(f"nfa: warning: {line}", file=sys.stderr)


def _existing(folder: Path) -> Path:
    """Return the folder of a sweep's results.

    Raises:
        UserError: There is none: nothing is made in a place that was mistyped.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; run the sweep first, or give --results, the folder it lies in")
    return folder


def _publish(options: argparse.Namespace) -> None:
    from nfa.stages.places import mlflow_place, wandb_place
    from nfa.stages.publish import publish

    place = mlflow_place if options.tracker == "mlflow" else wandb_place
    sweep = _own_results(options)
    _existing(options.results / sweep.name)
    publish(sweep, options.results, place, options.report, options.runs_only)


def _show(options: argparse.Namespace) -> None:
    from nfa.report.terminal import print_summary

    print_summary(options.results)
    _remark(options.results)


def _status(options: argparse.Namespace) -> None:
    from nfa.stages.status import status

    print(*status(options.results).lines(), sep="\n")
    _remark(options.results)


def _report(options: argparse.Namespace) -> None:
    from nfa.stages.status import report_so_far

    print(report_so_far(options.results))
    _remark(options.results)


def _clean(options: argparse.Namespace) -> None:
    from nfa.stages.clean import clean
    from nfa.sweep import load_all_sizes

    clean([sweep for config in options.configs for sweep in load_all_sizes(config)], options.results, options.remove)


def _schema(options: argparse.Namespace) -> None:
    from nfa.schema import schema_text

    print(schema_text(), end="")


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
