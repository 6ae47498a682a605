"""A lack of memory is reported in one line with the settings to change, because it is a mistake in a sweep's sizes."""

from collections.abc import Iterator
from contextlib import contextmanager

from nfa.errors import UserError, one_line
from nfa.sweep.cells import Cell, Sweep

# Words in the messages of torch, CUDA's libraries and C++, which have no exception type for it.
WORDS = ("out of memory", "can't allocate memory", "not enough memory", "bad_alloc", "_alloc_failed")


def out_of_memory(error: BaseException) -> bool:
    """Return True if an error means that the memory of the GPU or of the machine did not suffice."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(word in str(error).lower() for word in WORDS)
    )


@contextmanager
def enough_memory(stage: str, sweep: Sweep, cell: Cell) -> Iterator[None]:
    """Replace the errors of a stage that runs out of memory by one that says which settings to change.

    Raises:
        UserError: The memory did not suffice.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        said = one_line(str(error).partition("\n")[0] or type(error).__name__)
        raise UserError(
            f"{stage} {cell.id}: out of memory; {_advice(stage, sweep, cell)} ({said}); finished work is kept"
        ) from None


def _advice(stage: str, sweep: Sweep, cell: Cell) -> str:
    """Return the settings that take memory in a stage, with their values."""
    batch, n = cell.train.batch(cell.shape.n_train), cell.shape.n_train
    smaller = "a smaller model, or data.n_train below " + str(n)
    if stage == "train":
        return f"give train.batch_size below {batch}, {smaller}"
    if stage == "probe":
        return f"give probe.samples below {min(sweep.probe.samples, n)}, {smaller}"
    sketch = "" if sweep.measure.estimator == "sketched" else "measure.estimator: sketched, "
    probes = f"measure.probes below {sweep.measure.probes}, " if sweep.measure.probes > 1 else ""
    return f"give {sketch}measure.samples below {min(sweep.measure.samples, n)}, {probes}{smaller}"
