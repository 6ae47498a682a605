"""The verbs that read a sweep's results: show, status, report and clean."""

import argparse
import sys
from pathlib import Path


def _remark(results: Path) -> None:
    """Warn on standard error if results were made from an earlier state of their sweep file."""
    from nfa.storage.paths import SweepPaths
    from nfa.storage.stale import warnings_about

    for line in warnings_about(SweepPaths(results)):
        print(f"nfa: warning: {line}", file=sys.stderr)


def show_command(options: argparse.Namespace) -> None:
    """Print the summary of a sweep's results."""
    from nfa.report.terminal.summary import print_summary

    print_summary(options.results)
    _remark(options.results)


def status_command(options: argparse.Namespace) -> None:
    """Print which cells of a sweep are done, running, failed or still to do."""
    from nfa.storage.status import status

    print(*status(options.results).lines(), sep="\n")
    _remark(options.results)


def report_command(options: argparse.Namespace) -> None:
    """Write the report of the cells that are done, and print its path."""
    from nfa.stages.report_so_far import report_so_far

    print(report_so_far(options.results))
    _remark(options.results)


def clean_command(options: argparse.Namespace) -> None:
    """List or remove cells that are in none of the sweep files."""
    from nfa.cli.clean import clean
    from nfa.sweep.grid import load_all_sizes

    clean([sweep for config in options.configs for sweep in load_all_sizes(config)], options.results, options.remove)
