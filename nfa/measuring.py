"""What ``nfa check`` and ``nfa measure`` do with a network of the user's own."""

import argparse
from pathlib import Path

import pandas as pd
import torch
from rich.console import Console
from torch import Tensor, nn
from torch.nn import functional

from nfa.alignment import check, measure
from nfa.errors import UserError
from nfa.random import torch_generator
from nfa.report.network import check_report, measure_report
from nfa.stages.environment import choose_device, set_threads
from nfa.tables import ALIGNMENT, replacing, write_table
from nfa.user_model import fitted, load_model, load_samples, load_state, try_out


def check_network(options: argparse.Namespace) -> int:
    """Run ``nfa check``; return its exit code.

    Raises:
        UserError: A mistake in what was given.
    """
    model = _model(options.model, options.weights, options.seed)
    if options.data is not None:
        inputs, _ = load_samples(model, options.data)
    else:
        generator = torch_generator("check inputs", options.seed)
        inputs = fitted(model, torch.randn(options.samples, *options.input_shape, generator=generator))
    try_out(model, inputs)
    try:
        table = check(
            model, inputs, layers=options.layers, heads=options.heads, samples=options.samples, seed=options.seed
        )
    except ValueError as error:
        raise UserError(str(error)) from None
    Console().print(check_report(table))
    return 0 if table.passed.all() else 1


def measure_network(options: argparse.Namespace) -> int:
    """Run ``nfa measure`` on module:function; return its exit code.

    Raises:
        UserError: A mistake in what was given.
    """
    if options.threads is not None:
        set_threads(options.threads)
    model = _model(str(options.config), options.weights, options.seed or 0).to(choose_device(options.device))
    inputs, targets = load_samples(model, options.data)
    outputs = try_out(model, inputs)
    given = {name: getattr(options, name) for name in ("layers", "estimator", "samples", "probes", "heads", "seed")}
    given["initial"] = None if options.initial is None else load_state(model, options.initial)
    if options.loss is not None:
        given |= {"loss": options.loss, "targets": _targets(options, targets, outputs)}
    try:
        table = measure(model, inputs, **{name: value for name, value in given.items() if value is not None})
    except ValueError as error:
        raise UserError(str(error)) from None
    correlation, power = options.correlation or "cosine", options.power or "1"
    Console().print(measure_report(table, correlation, power, centred=options.initial is not None))
    if options.output is not None:
        _write(options.output, table)
        print(f"{options.output}: written, {len(table)} rows")
    return 0


def _model(reference: str, weights: Path | None, seed: int) -> nn.Module:
    """Make the network, the same one every time, with its weights."""
    torch.manual_seed(seed)
    model = load_model(reference)
    if weights is not None:
        model.load_state_dict(load_state(model, weights))
    return model


def _targets(options: argparse.Namespace, targets: Tensor | None, outputs: Tensor) -> Tensor:
    """Bring targets to the shape of the outputs, or classes to their one-hot code.

    Raises:
        UserError: There are none, or they do not fit: torch would broadcast them to something else.
    """
    if targets is None:
        raise UserError(f"--loss {options.loss}: needs targets, an array y beside x in {options.data}")
    shape = tuple(outputs.shape[1:])
    if options.loss == "cross_entropy" and len(shape) != 1:
        raise UserError(f"--loss cross_entropy: needs outputs (n, classes), the network's are (n, *{shape})")
    if options.loss == "cross_entropy" and targets.dim() == 1 and not targets.is_floating_point():
        low, high = int(targets.min()), int(targets.max())
        if low < 0 or high >= shape[0]:
            raise UserError(
                f"{options.data}: y holds classes {low} to {high}, the network has outputs 0 to {shape[0] - 1}"
            )
        return functional.one_hot(targets, shape[0]).to(outputs)
    if targets.dim() == 1 and shape == (1,):
        targets = targets[:, None]
    if tuple(targets.shape[1:]) != shape:
        raise UserError(f"{options.data}: one target in y has shape {tuple(targets.shape[1:])}, one output {shape}")
    return targets.to(outputs)


def _write(path: Path, table: pd.DataFrame) -> None:
    """Write a table, whole or not at all."""
    if path.suffix == ".parquet":
        write_table(path, table, ALIGNMENT)
    else:
        with replacing(path) as temporary:
            table.to_csv(temporary, index=False)
