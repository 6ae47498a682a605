"""Run ``nfa check`` and ``nfa measure`` on a network of the user's own."""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor, nn

from nfa.alignment import check, measure
from nfa.alignment.network.layers import checked_device, plain
from nfa.cli.arguments import try_to_write
from nfa.cli.own_network_samples import load_samples, targets_for
from nfa.errors import UserError, describe
from nfa.external.network import fitted, load_model, load_state, try_out
from nfa.external.users_code import users_code
from nfa.jobs.environment import choose_device, set_threads
from nfa.jobs.memory import out_of_memory
from nfa.random import torch_generator
from nfa.report.numbers import plural
from nfa.report.terminal.network import check_report, measure_report
from nfa.storage.columns import ALIGNMENT
from nfa.storage.tables import write_output


def check_network(options: argparse.Namespace) -> int:
    """Run ``nfa check``; return its exit code.

    Raises:
        UserError: An argument, the network or the samples are wrong.
    """
    model = _model(options.model, options.weights, options.seed)
    with _one_line("check"):
        checked_device(model)
        if options.data is not None:
            samples = load_samples(model, options.data, options)
            inputs = samples.inputs
            print_notes(samples.notes)
        else:
            inputs = fitted(model, _normal((options.samples, *options.input_shape), options.seed))
        try_out(model, inputs)
        table = check(
            model, inputs, layers=options.layers, heads=options.heads, samples=options.samples, seed=options.seed
        )
    Console().print(check_report(table))
    return 0 if table.passed.all() else 1


def measure_network(options: argparse.Namespace) -> int:
    """Run ``nfa measure`` on module:function; return its exit code.

    Raises:
        UserError: An argument, the network or the samples are wrong.
    """
    if options.output is not None:
        try_to_write(options.output)
    if options.threads is not None:
        set_threads(options.threads)
    device = choose_device(options.device)
    model = _model(str(options.config), options.weights, options.seed or 0)
    with _one_line("measure"):
        model = model.to(device)
        checked_device(model)
        samples = load_samples(model, options.data, options)
        print_notes(samples.notes)
        inputs = samples.inputs
        outputs = try_out(model, inputs)
        arguments = {
            name: getattr(options, name) for name in ("layers", "estimator", "samples", "probes", "heads", "seed")
        }
        arguments["initial"] = None if options.initial is None else load_state(model, options.initial)
        if options.loss is not None:
            arguments |= {
                "loss": options.loss,
                "targets": targets_for(options.data, samples, options.loss, options.labels, outputs),
            }
        table = measure(model, inputs, **{name: value for name, value in arguments.items() if value is not None})
    correlation, power = options.correlation or "cosine", options.power or "1"
    Console().print(measure_report(table, correlation, power, centred=options.initial is not None))
    if options.output is not None:
        write_output(options.output, table, ALIGNMENT)
        print(f"{options.output}: written, {plural(len(table), 'row')}")
    return 0


def _normal(shape: tuple[int, ...], seed: int) -> Tensor:
    """Draw normal samples.

    Raises:
        UserError: So many samples do not fit into memory.
    """
    try:
        return torch.randn(shape, generator=torch_generator("check inputs", seed))
    except (RuntimeError, TypeError, MemoryError):  # TypeError: a size is no 64-bit integer
        raise UserError(f"--input-shape, --samples: samples of shape {shape} do not fit into memory") from None


@contextmanager
def _one_line(verb: str) -> Iterator[None]:
    """Turn any exception of the body into one line: a network that could be tried out may still fail later.

    It may fail on other samples, in float64 or with autograd.

    Raises:
        UserError: In place of any exception.
    """
    try:
        with users_code(f"{verb}: the network", alone=True, passing=(Exception,)):
            yield
    except UserError:
        raise
    except ValueError as error:  # raised by nfa.alignment, with a sentence for the user
        raise UserError(" ".join(str(error).split())) from None
    except Exception as error:
        if out_of_memory(error):
            fewer = "--samples, or --estimator sketched" if verb == "measure" else "--samples"
            raise UserError(f"{verb}: out of memory; give fewer {fewer} ({describe(error)})") from None
        raise UserError(f"{verb}: the network raised {describe(error)}") from None


def _model(reference: str, weights: Path | None, seed: int) -> nn.Module:
    """Make the network, with the same initial weights every time, and load weights if there are any."""
    torch.manual_seed(seed)
    model = load_model(reference)
    if weights is not None:
        state = load_state(model, weights)  # complete except for state that is no tensor
        with users_code(f"{weights}: loading it", alone=True):  # the network's class can have its own load_state_dict
            plain(model).load_state_dict(state, strict=False)
    return model


def print_notes(notes: tuple[str, ...]) -> None:
    """Print what was done to the samples to standard error, because standard output holds the table."""
    for note in notes:
        print(note, file=sys.stderr)
