"""The verbs that read a sweep's results: show, status, report and clean."""

import argparse
import sys
from pathlib import Path


def _remark(results: Path) -> None:
    """Warn, on standard error, where results are not of their sweep file as it is now."""
    from nfa.storage.paths import SweepPaths
    from nfa.storage.stale import remarks

    for line in remarks(SweepPaths(results)):
        print(f"nfa: warning: {line}", file=sys.stderr)


def show_command(options: argparse.Namespace) -> None:
    """Print the summary of a sweep's results."""
    from nfa.report.terminal.summary import print_summary

    print_summary(options.results)
    _remark(options.results)


def status_command(options: argparse.Namespace) -> None:
    """Print where a sweep stands."""
    from nfa.storage.status import status

    print(*status(options.results).lines(), sep="\n")
    _remark(options.results)


def report_command(options: argparse.Namespace) -> None:
    """Write the report of the cells that are done."""
    from nfa.stages.report_so_far import report_so_far

    print(report_so_far(options.results))
    _remark(options.results)


def clean_command(options: argparse.Namespace) -> None:
    """List or remove cells that no sweep file names."""
    from nfa.cli.clean import clean
    from nfa.sweep.grid import load_all_sizes

    clean([sweep for config in options.configs for sweep in load_all_sizes(config)], options.results, options.remove)
