"""Read samples and targets for a network of the user's own from a file, by the rules of a sweep.

Images with their channels last are converted to channels first, by the rule of ``nfa.data.arrays``. Whole numbers are
read as tokens or as numbers, depending on which the network runs on. Text is read as labels. Data that could be read in
two ways are refused with a question, which an option answers.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nfa.alignment.network.fitting import misfit
from nfa.alignment.targets import fitting_targets
from nfa.data.arrays import ArrayOptions, plan
from nfa.data.one_hot import centred_one_hot
from nfa.data.options import moments, standardised
from nfa.errors import UserError, describe, nearest, one_line
from nfa.external.network import error_on, read_tensors

Array = np.ndarray | Tensor
PAIRS = (("x", "y"), ("x_train", "y_train"))  # names of samples and targets; the second pair is that of a sweep's files


@dataclass(frozen=True)
class Samples:
    """Samples and targets from a file.

    Attributes:
        inputs: (n, ...), on the network's device, in a number type that the network takes.
        targets: (n, ...) numbers or text, unchanged; None if the file has no targets.
        name: Name of the targets in the file.
        notes: Sentences for the user about changes of the inputs.
    """

    inputs: Tensor
    targets: Array | None
    name: str
    notes: tuple[str, ...]


def load_samples(model: nn.Module, path: Path, options: argparse.Namespace) -> Samples:
    """Read samples and their targets, if there are any.

    Args:
        model: The network; it is run to find out if whole numbers are tokens.
        path: A .npz or .safetensors file.
        options: ``x``, ``y`` (names of arrays, or None), ``channels`` and ``standardise`` (as in a sweep, or None).

    Raises:
        UserError: There is no such file or array, or the arrays cannot be samples and their targets.
    """
    arrays = _read(path, options)
    (name, inputs), (target_name, targets) = arrays
    for each, array in arrays:
        if array is not None and array.ndim == 0:
            raise UserError(f"{path}: {one_line(each)} is a single number; its first axis must be that of the samples")
    if isinstance(inputs, np.ndarray):
        if inputs.dtype.kind not in "fiub":
            raise UserError(f"{path}: {one_line(name)} holds {inputs.dtype}, not numbers")
        inputs = torch.from_numpy(_native(inputs))
    assert inputs is not None
    if len(inputs) == 0 or inputs.numel() == 0:
        raise UserError(f"{path}: zero samples; at least one is needed")
    if targets is not None and len(targets) != len(inputs):
        raise UserError(f"{path}: {len(inputs)} samples in {name} but {len(targets)} targets in {target_name}")
    notes = []
    if _channels_last(path, inputs, options.channels or "auto"):
        inputs = inputs.movedim(-1, 1).contiguous()
        shape = " x ".join(map(str, inputs.shape[1:]))
        notes.append(f"{name}: channels moved to the front, {shape}; --channels first keeps them where they are")
    try:
        chosen = _fitting_samples(model, inputs, options.standardise or "none")
    except UserError as error:
        if targets is None or targets.ndim <= inputs.ndim:
            raise
        shapes = f"{name} has shape {tuple(inputs.shape)} and {target_name} {tuple(targets.shape)}"
        raise UserError(f"{path}: {shapes}: are --x and --y swapped? ({error})") from None
    if not inputs.is_floating_point() and chosen.is_floating_point() and not options.standardise:
        low, high = int(inputs.min()), int(inputs.max())
        notes.append(f"{name}: whole numbers from {low} to {high}, taken as they are; --standardise scales them")
    return Samples(chosen, targets, target_name, tuple(notes))


def _read(path: Path, options: argparse.Namespace) -> tuple[tuple[str, Array | None], tuple[str, Array | None]]:
    """Read inputs and, if there are any, targets: the arrays named by options, or those with the expected names."""
    if path.suffix == ".safetensors":
        tensors = read_tensors(path)
        x, y = _names(path, list(tensors), options)
        return (x, tensors[x]), (y, tensors.get(y))
    if path.suffix != ".npz":
        raise UserError(
            f"{path}: --data reads .npz or .safetensors files; save the samples with numpy.savez('samples.npz', x=x)"
        )
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        with np.load(path, allow_pickle=False) as archive:
            x, y = _names(path, archive.files, options)
            return (x, archive[x]), (y, archive[y] if y else None)
    except UserError:
        raise
    except Exception as error:  # zipfile, zlib and numpy each raise their own
        raise UserError(f"{path}: cannot be read as .npz with plain arrays ({describe(error)})") from None


def _names(path: Path, there: list[str], options: argparse.Namespace) -> tuple[str, str]:
    """Choose the names of inputs and targets among those in the file; the name of targets is empty if there are none.

    Raises:
        UserError: A given name is not in the file, or none is given and no expected name is in the file.
    """
    if not there:
        raise UserError(f"{path}: holds no array")
    for option, name in (("--x", options.x), ("--y", options.y)):
        if name is not None and name not in there:
            raise UserError(f"{path}: {option} {name}: no such array; {nearest(name, there)}")
    pair = next((pair for pair in PAIRS if pair[0] in there), (there[0] if len(there) == 1 else "", ""))
    x, y = options.x or pair[0], options.y or (pair[1] if pair[1] in there and not options.x else "")
    if not x:
        raise UserError(
            f"{path}: no array 'x' among {', '.join(sorted(there))}: call the samples x and their targets y, or name "
            "them with --x NAME and --y NAME"
        )
    return x, y


def _native(array: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    """Convert an array to a number type that torch has, in this machine's byte order."""
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        return array.astype(np.float64)
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        return array.astype(np.int64)
    return array.astype(array.dtype.newbyteorder("="), order="C")


def _channels_last(path: Path, inputs: Tensor, channels: str) -> bool:
    """Return True if a sweep would move the last axis to the front."""
    shape = tuple(inputs.shape)
    if len(shape) != 4:
        return False
    pair = {"x": (shape, np.dtype(np.float32)), "y": (shape[:1], np.dtype(np.float32))}
    headers = {f"{name}_{part}": header for name, header in pair.items() for part in ("train", "test")}
    settings = ArrayOptions.model_validate({"channels": channels})
    return plan(str(path), headers, lambda name: np.zeros(headers[name][0]), settings).last


def _fitting_samples(model: nn.Module, inputs: Tensor, standardise: str) -> Tensor:
    """Return the samples in the first form on which the network runs.

    Whole numbers can be tokens or numbers. Samples with two axes can be sequences, or grey images without an axis of
    channels.

    Raises:
        UserError: The network runs on no form.
    """
    like = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))
    numbers, tokens = like.dtype, torch.int64
    types = [numbers] if inputs.is_floating_point() or standardise != "none" else [tokens, numbers]
    if inputs.dim() > 2:
        types.reverse()
    scaled = _standardised(inputs, standardise)
    failed: list[tuple[Tensor, Exception]] = []
    for shaped in [scaled, scaled[:, None]] if inputs.dim() == 3 else [scaled]:
        for kind in types:
            few = shaped[:2].to(like.device, kind)
            error = error_on(model, few)
            if error is None:
                return shaped.to(like.device, kind)
            failed.append((few, error))
    for few, error in failed:
        reason = misfit(model, few, error)
        if reason is not None:
            raise UserError(reason)
    few, error = failed[0]
    if isinstance(error, UserError):  # of an exit or an interrupt that the network's code raises
        raise error
    raise UserError(f"the network raised {describe(error)}, on samples of shape {tuple(few.shape[1:])}, {few.dtype}")


def _standardised(inputs: Tensor, over: Any) -> Tensor:
    """Scale samples as ``standardise`` does in a sweep, with the means and standard deviations of these samples."""
    if over == "none":
        return inputs
    values = inputs.to(torch.float32).numpy()
    return torch.from_numpy(standardised(values, *moments(values, over)))


def targets_for(path: Path, samples: Samples, loss: str, labels: str | None, outputs: Tensor) -> Tensor:
    """Convert targets to the form that a loss takes.

    Args:
        path: The file, for messages.
        samples: The samples and their targets.
        loss: Name of the loss.
        labels: ``classes``, ``values`` or ``onehot``; None if the targets can be read in one way only.
        outputs: The network's outputs for one or two samples, (1 or 2, ...).

    Raises:
        UserError: There are no targets, they do not fit, or they could be read in two ways.
    """
    given, where = samples.targets, f"{path}: {samples.name}"
    if given is None:
        raise UserError(f"--loss {loss}: needs targets: an array y in {path}, or another one that --y names")
    text = isinstance(given, np.ndarray) and given.dtype.kind in "UST"
    if not text and isinstance(given, np.ndarray):
        if given.dtype.kind not in "fiub":
            raise UserError(f"{where}: holds {given.dtype}, neither numbers nor text")
        given = torch.from_numpy(_native(given))
    if labels is None:
        labels = "classes" if text else _only_reading(where, given, loss, outputs)
    if labels == "values" and text:
        raise UserError(f"{where}: holds text, not values; give --labels classes")
    if labels in ("classes", "onehot"):
        numbers = _class_numbers(where, given, labels, outputs.shape[1:].numel())
        coded = torch.from_numpy(centred_one_hot(numbers, outputs.shape[1:].numel()))
        given = coded if loss == "mse" else torch.from_numpy(numbers)
    assert isinstance(given, Tensor)
    like = outputs.dtype if given.is_floating_point() else torch.int64
    try:
        return fitting_targets(loss, outputs, given.to(outputs.device, like))
    except ValueError as error:
        classes = loss == "mse" and given[0].numel() == 1 and bool((given == given.round()).all())
        hint = "; --labels classes codes classes as a sweep does" if classes else ""
        raise UserError(f"{where}: {str(error).removeprefix('targets: ')}{hint}") from None


def _only_reading(where: str, given: Any, loss: str, outputs: Tensor) -> str | None:
    """Return None if targets can be read in one way only.

    Raises:
        UserError: They could be read in two ways.
    """
    if outputs.shape[1:].numel() == 1:
        return None
    single, real = given[0].numel() == 1, given.is_floating_point()
    if single and real and loss == "cross_entropy" and bool((given == given.round()).all()):
        raise UserError(f"{where}: whole numbers as {given.dtype} could be classes; give --labels classes, or values")
    if not single and loss == "mse" and _one_hot(given):
        raise UserError(
            f"{where}: one-hot rows could be classes or values; give --labels onehot (as in a sweep, onehot - 1/C) "
            "or --labels values (taken as they are)"
        )
    return None


def _one_hot(given: Tensor) -> bool:
    """Return True if every row is a single 1 and zeros."""
    if given.dim() != 2 or given.shape[1] < 2:
        return False
    return bool((((given == 0) | (given == 1)).all(1) & (given.sum(1) == 1)).all())


def _class_numbers(where: str, given: Any, labels: str, classes: int) -> "np.ndarray[Any, Any]":
    """Number the classes 0 to C - 1; return the number of each sample's class, (n,) int64.

    Whole numbers from 0 to C - 1 stay as they are, because some classes may have no sample here. Other labels are
    numbered in ascending order, as in a sweep, so every class must have a sample.

    Raises:
        UserError: The targets are no labels, or there are not as many classes as the network has outputs.
    """
    if labels == "onehot":
        if not isinstance(given, Tensor) or not _one_hot(given):
            raise UserError(f"{where}: --labels onehot needs rows with a single 1 and zeros")
        numbers: np.ndarray[Any, Any] = given.argmax(1).numpy()
        if given.shape[1] != classes:
            raise UserError(f"{where}: rows of {given.shape[1]} classes, but the network has {classes} outputs")
        return numbers
    values = given.cpu().numpy() if isinstance(given, Tensor) else given
    if values.size != len(values):
        raise UserError(f"{where}: --labels classes needs one label per sample, not {tuple(values.shape[1:])}")
    values = values.reshape(-1)
    if values.dtype.kind == "f" and not (np.isfinite(values) & (values == np.round(values))).all():
        raise UserError(f"{where}: --labels classes needs whole numbers or text")
    if values.dtype.kind in "fiub" and values.min() >= 0 and values.max() < classes:
        return values.astype(np.int64)
    distinct = np.unique(values)
    if len(distinct) != classes:
        raise UserError(
            f"{where}: {len(distinct)} different labels, but the network has {classes} outputs, so their order is "
            f"unknown; number the classes 0 to {classes - 1}"
        )
    return np.searchsorted(distinct, values)
