"""What lies on disk of a sweep, compared with its sweep file. Imports no torch.

Snakemake plans by modification times and by what it remembers of earlier runs in ``.snakemake``. Results that came from
elsewhere, or whose memory is lost or of other results, are told here, from what every file says it was made from. Only
small parts of files are read: a sweep of ten thousand cells is planned in half a minute.
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
from nfa.sweep.cells import Cell, Sweep
from nfa.sweep.grid import parse
from nfa.sweep.origin import Origin, plan_text, read_plan

TAIL = 65536  # bytes at the end of a table in which its stamp is looked for first
SEEDS = re.compile(rb'"seeds": \[([0-9, ]*)\]')


def stale_outputs(sweep: Sweep, paths: SweepPaths) -> list[str]:
    """List files of a sweep that are there and were not made from the sweep file as it is, one for each job's.

    A file that is missing is not among them: Snakemake sees that itself.
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
    """Tell whether tables and report were made from a sweep as it is, by provenance.json, which is written last."""
    made = _made(paths)
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


def _made(paths: SweepPaths) -> dict[str, Any]:
    """Read provenance.json; empty where it is missing or damaged."""
    try:
        return read_sealed(paths.provenance)
    except (OSError, ValueError):
        return {}


def _stale_tables(sweep: Sweep, cell: Cell, paths: CellPaths) -> Iterator[Path]:
    """Find the tables of a cell that were made with other settings, or without one of the seeds."""
    if not os.path.isdir(paths.folder):
        return
    hashes, seeds = sweep.hashes(cell), set(sweep.seeds)
    for stage, file in outputs(paths).items():
        try:
            fits = _fits(file, hashes[stage], seeds)
        except FileNotFoundError:
            continue
        if not fits or (stage == "train" and not _cell_fits(paths.cell, hashes[stage], seeds)):
            yield file


def _fits(file: Path, stage_hash: str, seeds: set[int]) -> bool:
    """Tell whether a table says that it was made with these settings, and with all of these seeds."""
    # Twenty times faster than opening the table, and settled where it says yes: the hash stands in nothing else.
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
    """Tell whether cell.json is missing, or of these settings and seeds."""
    if not file.exists():
        return True
    try:
        document = read_sealed(file)
        of_these = {str(seed) for seed in seeds} <= document["runs"].keys()
        return bool(of_these and document["hashes"]["train"] == train_hash)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def remembered(paths: SweepPaths) -> tuple[dict[str, Any], Origin] | None:
    """Look up what results were made from: the sweep's document and its file; None where they do not say."""
    try:
        document, origin = read_plan(paths.plan)
    except UserError:
        made = _made(paths)
        try:
            document, origin = made["config"], Origin.remembered(made["origin"], paths.folder)
        except (KeyError, TypeError):
            return None
    return (document, origin) if origin else None


def check_name(sweep: Sweep, paths: SweepPaths, *, snakemake: bool = False) -> None:
    """Refuse a sweep file whose results would take the place of those of another one with the same name.

    The other file is no obstacle where it is gone (it was renamed), has taken another name since, or says the same.

    Args:
        sweep: The sweep.
        paths: Its results.
        snakemake: The sweep was read by Snakemake, whose option ``--config`` can name it.

    Raises:
        UserError: One line, with the way out.
    """
    known = remembered(paths)
    if known is None or sweep.origin is None:
        return
    document, origin = known
    if origin.file == sweep.origin.file or not origin.file.exists() or os.path.samefile(origin.file, sweep.origin.file):
        return
    now = origin.now()
    if (now is not None and now.name != origin.name) or _says_the_same(sweep, document):
        return
    option = " or `--config sweep=OTHER`" if snakemake else ""
    raise UserError(
        f"{sweep.source}: {paths.folder} holds the results of another sweep file, {os.path.relpath(origin.file)}; give "
        f"this one another name, by `sweep: OTHER` in it{option}, or move {paths.folder} away"
    )


def _says_the_same(sweep: Sweep, document: dict[str, Any]) -> bool:
    """Tell whether a document means the same sweep, even if it is written in another way."""
    if digest(document) == digest(sweep.document):
        return True
    try:
        other = parse(document, "plan")
    except UserError:
        return False
    parts = ("seeds", "measure", "probe", "wandb")
    same = all(getattr(other, part) == getattr(sweep, part) for part in parts)
    return same and [cell.id for cell in other.cells] == [cell.id for cell in sweep.cells]


def remarks(paths: SweepPaths) -> list[str]:
    """Say where results are not of the sweep file as it is now: one line each.

    The plan is the sweep file as it was when the sweep was last started; tables and report may be older still.
    """
    known = remembered(paths)
    if known is None:
        return []
    document, origin = known
    lines = []
    file, now = os.path.relpath(origin.file), origin.now()
    if now is None:
        lines.append(f"{file}: the sweep file of these results cannot be read: whether it has changed is not known")
    elif now.digest != origin.digest:
        again = f"`snakemake -n --configfile {file}` shows what would run again"
        lines.append(f"{file}: the sweep file has changed since these results were started; {again}")
    elif changed := _changed_data(document, origin, paths):
        lines.append(changed)
    made = _made(paths)
    if paths.provenance.exists() and not made:
        lines.append(f"{paths.provenance}: damaged; `snakemake --configfile {file}` makes it anew")
    elif paths.report.exists() and digest(made.get("config")) != digest(document):
        lines.append(
            f"{paths.folder}: tables and report are of an earlier state of the sweep file than the results started "
            f"last; `snakemake --configfile {file}` makes them anew"
        )
    return lines


def _changed_data(document: dict[str, Any], origin: Origin, paths: SweepPaths) -> str:
    """Say where a data file has changed since the tables were made from it; empty where none has.

    The content of a data file is part of a cell's id. Data functions of the user's are not called for this.
    """
    entries = document.get("data")
    names = [entry.get("name") for entry in (entries if isinstance(entries, list) else [entries]) if entry]
    made_of_it = digest(_made(paths).get("config")) == digest(document)
    if "file" not in names or any(":" in str(name) for name in names) or not made_of_it or not paths.cells.exists():
        return ""
    file = os.path.relpath(origin.file)
    try:
        sweep = parse(document, file)
    except UserError as error:
        return f"{error}: whether the data of these results have changed is not known"
    rows = paths.cells.read_text(encoding="utf-8").splitlines()[1:]
    changed = sum(row.partition("\t")[0] not in sweep.by_id for row in rows)
    if not changed:
        return ""
    again = f"`snakemake -n --configfile {file}` shows what would run again"
    return f"{file}: the data of {changed:,} of {len(rows):,} cells have changed since the tables were made; {again}"
