"""Comparison of the results on disk with the sweep file. Imports no torch.

Snakemake plans by modification times and by its records of earlier runs in ``.snakemake``. It does not notice results
that were copied from elsewhere, or whose records are lost or belong to other results. Here such results are found by
the stamp in every file, which says what it was made from. Only small parts of files are read, so that a sweep of ten
thousand cells is planned in less than a minute.
"""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nfa.digests import digest, read_sealed
from nfa.errors import UserError
from nfa.storage.checks import outputs
from nfa.storage.paths import CellPaths, SweepPaths
from nfa.storage.tables import read_stamp
from nfa.storage.tuned import read_tuned
from nfa.sweep.cells import Cell, Sweep
from nfa.sweep.grid import parse
from nfa.sweep.origin import Origin, plan_text, read_plan

TAIL = 65536  # number of bytes at the end of a table that are searched for its stamp first
SEEDS = re.compile(rb'"seeds": \[([0-9, ]*)\]')


def stale_outputs(sweep: Sweep, paths: SweepPaths) -> list[str]:
    """List the existing files that were made from another state of the sweep file, one file for each job to run again.

    Missing files are not listed, because Snakemake notices them itself.
    """
    stale = [file for cell in sweep.cells for file in _stale_tables(sweep, cell, paths.cell(cell.id))]
    if paths.report.exists() and not (is_current(sweep, paths) and _plan_is_current(sweep, paths)):
        stale.append(paths.report)
    hashed = digest(sweep.document)
    for published in (paths.published_runs, paths.published):
        if published.exists() and _read(published).get("sweep") != hashed:
            stale.append(published)
    return [str(file) for file in stale]


def is_current(sweep: Sweep, paths: SweepPaths) -> bool:
    """Return True if tables and report were made from the sweep as it is, according to provenance.json."""
    made = _provenance(paths)
    origin = sweep.origin.document(paths.folder) if sweep.origin else made.get("origin")
    return digest(made.get("config")) == digest(sweep.document) and made.get("origin") == origin


def _plan_is_current(sweep: Sweep, paths: SweepPaths) -> bool:
    try:
        return paths.plan.read_text(encoding="utf-8") == plan_text(sweep.document, sweep.origin, paths.folder)
    except (OSError, ValueError):
        return False


def _read(file: Path) -> dict[str, Any]:
    """Read a JSON document; empty where it is missing or damaged."""
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def _provenance(paths: SweepPaths) -> dict[str, Any]:
    """Read provenance.json; empty where it is missing or damaged."""
    try:
        return read_sealed(paths.provenance)
    except (OSError, ValueError):
        return {}


def _stale_tables(sweep: Sweep, cell: Cell, paths: CellPaths) -> Iterator[Path]:
    """Yield the tables of a cell that were made with other settings or without one of the seeds."""
    if not os.path.isdir(paths.folder):
        return
    if cell.searches and paths.tuned.exists() and read_tuned(sweep, cell, paths) is None:
        yield paths.tuned
    hashes, seeds = sweep.hashes(cell), set(sweep.seeds)
    for stage, file in outputs(paths).items():
        try:
            fits = _fits(file, hashes[stage], seeds)
        except FileNotFoundError:
            continue
        if not fits or (stage == "train" and not _cell_fits(paths.cell, hashes[stage], seeds)):
            yield file


def _fits(file: Path, stage_hash: str, seeds: set[int]) -> bool:
    """Return True if a table was made with these settings and with all of these seeds."""
    # Searching the last bytes for the hash is twenty times faster than opening the table. A table that holds the hash
    # was made with these settings, because the hash occurs nowhere else; a table without it is opened to make sure.
    with file.open("rb") as opened:
        opened.seek(max(0, os.fstat(opened.fileno()).st_size - TAIL))
        end = opened.read()
    at = end.find(b'"hash": "%s"' % stage_hash.encode())
    found = SEEDS.search(end, at) if at >= 0 and end.endswith(b"PAR1") else None
    if found and seeds <= {int(seed) for seed in found[1].split(b", ")}:
        return True
    try:
        stamp = read_stamp(file)
    except (OSError, ValueError):
        return False
    return stamp.get("hash") == stage_hash and seeds <= set(stamp.get("seeds", ()))


def _cell_fits(file: Path, train_hash: str, seeds: set[int]) -> bool:
    """Return True if cell.json is missing, or was made with these settings and seeds."""
    if not file.exists():
        return True
    try:
        document = read_sealed(file)
        of_these = {str(seed) for seed in seeds} <= document["runs"].keys()
        return bool(of_these and document["hashes"]["train"] == train_hash)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def recorded_origin(paths: SweepPaths) -> tuple[dict[str, Any], Origin] | None:
    """Return the sweep's document and sweep file that results were made from; None if they are not recorded."""
    try:
        document, origin = read_plan(paths.plan)
    except UserError:
        made = _provenance(paths)
        try:
            document, origin = made["config"], Origin.remembered(made["origin"], paths.folder)
        except (KeyError, TypeError):
            return None
    return (document, origin) if origin else None


def check_name(sweep: Sweep, paths: SweepPaths, *, snakemake: bool = False) -> None:
    """Refuse a sweep file whose results would replace those of another sweep file with the same sweep name.

    The other file does not count if it is gone (it was renamed), names another sweep now, or means the same sweep.

    Args:
        sweep: The sweep.
        paths: Its results.
        snakemake: The sweep was read by Snakemake, whose option ``--config`` can name it.

    Raises:
        UserError: One line, with the ways out.
    """
    known = recorded_origin(paths)
    if known is None or sweep.origin is None:
        return
    document, origin = known
    if origin.file == sweep.origin.file or not origin.file.exists() or os.path.samefile(origin.file, sweep.origin.file):
        return
    now = origin.now()
    if (now is not None and now.name != origin.name) or _is_same_sweep(sweep, document):
        return
    option = " or `--config sweep=OTHER`" if snakemake else ""
    raise UserError(
        f"{sweep.source}: {paths.folder} holds the results of another sweep file, {os.path.relpath(origin.file)}; give "
        f"this one another name, by `sweep: OTHER` in it{option}, or move {paths.folder} away"
    )


def _is_same_sweep(sweep: Sweep, document: dict[str, Any]) -> bool:
    """Return True if a document means the same sweep, even if it is written in another way."""
    if digest(document) == digest(sweep.document):
        return True
    try:
        other = parse(document, "plan")
    except UserError:
        return False
    parts = ("seeds", "measure", "probe", "wandb")
    same = all(getattr(other, part) == getattr(sweep, part) for part in parts)
    return same and [cell.id for cell in other.cells] == [cell.id for cell in sweep.cells]


def warnings_about(paths: SweepPaths) -> list[str]:
    """Return a warning line for each way in which results do not fit the sweep file as it is now.

    The plan is the sweep file as it was when the sweep was last started; tables and report may be older than the plan.
    """
    known = recorded_origin(paths)
    if known is None:
        return []
    document, origin = known
    lines = []
    file, now = os.path.relpath(origin.file), origin.now()
    if now is None:
        lines.append(f"{file}: the sweep file of these results cannot be read, so it is not known if it has changed")
    elif now.digest != origin.digest:
        again = f"`snakemake -n --configfile {file}` shows what would run again"
        lines.append(f"{file}: the sweep file has changed since these results were started; {again}")
    elif changed := _changed_data(document, origin, paths):
        lines.append(changed)
    made = _provenance(paths)
    if paths.provenance.exists() and not made:
        lines.append(f"{paths.provenance}: damaged; `snakemake --configfile {file}` makes it again")
    elif paths.report.exists() and digest(made.get("config")) != digest(document):
        lines.append(
            f"{paths.folder}: tables and report are of an earlier state of the sweep file than the results that were "
            f"started last; `snakemake --configfile {file}` makes them again"
        )
    return lines


def _changed_data(document: dict[str, Any], origin: Origin, paths: SweepPaths) -> str:
    """Return a warning if a data file has changed since the tables were made from it; empty if none has.

    The content of a data file is part of a cell's id. The user's own data functions are not called for this.
    """
    entries = document.get("data")
    names = [entry.get("name") for entry in (entries if isinstance(entries, list) else [entries]) if entry]
    made_of_it = digest(_provenance(paths).get("config")) == digest(document)
    if "file" not in names or any(":" in str(name) for name in names) or not made_of_it or not paths.cells.exists():
        return ""
    file = os.path.relpath(origin.file)
    try:
        sweep = parse(document, file)
    except UserError as error:
        return f"{error}; so it is not known if the data of these results have changed"
    rows = paths.cells.read_text(encoding="utf-8").splitlines()[1:]
    changed = sum(row.partition("\t")[0] not in sweep.by_id for row in rows)
    if not changed:
        return ""
    again = f"`snakemake -n --configfile {file}` shows what would run again"
    return f"{file}: the data of {changed:,} of {len(rows):,} cells have changed since the tables were made; {again}"
