"""The options of ``nfa check`` and ``nfa measure`` for a network of the user's own. torch is imported only later."""

import argparse
from pathlib import Path

from nfa.cli.arguments import positive, whole
from nfa.conventions import CORRELATIONS, POWERS
from nfa.errors import UserError

CHECK = "check on a network of your own, layer by layer, that W^T K W is its average gradient outer product"
MODEL = "module:function that returns a network (or an nn.Module, or its class); the current folder is searched first"
WEIGHTS = "weights to load, as saved with safetensors.torch.save_file(model.state_dict(), FILE)"
DATA = "samples: a .npz or .safetensors file with an array x (n, ...) and optional targets y, read as in a sweep"
DESCRIPTION = """\
Measure a network of your own, or every checkpoint of a sweep, which writes
alignment.parquet and matrices.npz.
"""
EXAMPLES = """\
of a network of your own:
  nfa measure my_models:make --weights trained.safetensors \\
      --initial initial.safetensors --data images.npz
  where my_models.py has a function make() that returns the network,
  and images.npz an array x

of a sweep, as the workflow calls it:
  nfa measure my.yaml --cells ID
"""

SEED = whole(0, 2**63 - 1, "a number from 0 to 2**63 - 1")  # a table's column of 64-bit integers holds it
_ESTIMATORS = ("auto", "exact", "sketched")
_LABELS = ("classes", "values", "onehot")
_STANDARDISE = ("none", "global", "per_channel", "per_feature")
_LOSSES = ("mse", "cross_entropy")
_NETWORK_OPTIONS = (
    "weights",
    "data",
    "x",
    "y",
    "channels",
    "standardise",
    "labels",
    "initial",
    "layers",
    "heads",
    "estimator",
    "samples",
    "probes",
    "loss",
    "seed",
    "correlation",
    "power",
    "output",
)


def add_check_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``nfa check``."""
    parser.epilog = "Exit code: 0 if all layers pass, 1 if a layer does not, 2 if an argument is wrong."
    parser.add_argument("model", metavar="MODULE:FUNCTION", help=MODEL)
    parser.add_argument("--weights", type=Path, metavar="FILE", help=WEIGHTS)
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("--data", type=Path, metavar="FILE", help=DATA)
    _add_reading_arguments(parser)
    text = "draw normal samples of this shape, e.g. 3,32,32 or 784"
    given.add_argument("--input-shape", type=_shape, metavar="SIZES", help=text)
    parser.add_argument("--layers", nargs="+", metavar="NAME", help="layers to check (default: all)")
    parser.add_argument("--heads", action="store_true", help="split query, key and value weights by attention head")
    parser.add_argument(
        "--samples", type=positive, default=4, metavar="N", help="number of samples to check on (default: 4)"
    )
    parser.add_argument(
        "--seed", type=SEED, default=0, metavar="S", help="seed of everything that is drawn at random (default: 0)"
    )


def add_network_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``nfa measure`` for module:function; None is the default of all, and means not given."""
    for action in parser._actions:
        if action.dest == "config":
            action.metavar = "CONFIG|MODULE:FUNCTION"
            action.help = f"sweep file (YAML), or {MODEL}"
    parser.epilog = EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter  # keeps the lines of EXAMPLES, and of DESCRIPTION
    parser.description = DESCRIPTION
    own = parser.add_argument_group("with module:function")
    own.add_argument("--weights", type=Path, metavar="FILE", help=WEIGHTS)
    own.add_argument("--data", type=Path, metavar="FILE", help=DATA)
    _add_reading_arguments(own)
    text = "how to read targets that could be read in several ways, as in a sweep"
    own.add_argument("--labels", choices=_LABELS, help=text)
    own.add_argument(
        "--initial", type=Path, metavar="FILE", help="weights before training, which the centred quantities need"
    )
    own.add_argument("--layers", nargs="+", metavar="NAME", help="layers to measure (default: all)")
    own.add_argument(
        "--heads", action="store_true", default=None, help="split query, key and value weights by attention head"
    )
    own.add_argument(
        "--estimator", choices=_ESTIMATORS, help="how K is estimated (default: auto, exact up to 64 outputs per sample)"
    )
    text = "measure on this many samples, drawn at random, and estimate the values for all (default: all)"
    own.add_argument("--samples", type=positive, metavar="M", help=text)
    own.add_argument("--probes", type=positive, metavar="P", help="probes in each of the two sketches (default: 1)")
    own.add_argument(
        "--loss",
        choices=_LOSSES,
        help="also measure quantities of the loss gradient dL/dW; needs targets y in the data",
    )
    own.add_argument("--seed", type=SEED, metavar="S", help="seed of everything that is drawn at random (default: 0)")
    own.add_argument(
        "--correlation", choices=CORRELATIONS, help="the correlation in the table that is shown (default: cosine)"
    )
    own.add_argument("--power", choices=POWERS, help="the power in the table that is shown (default: 1)")
    own.add_argument("--output", type=Path, metavar="FILE", help="write all quantities to a .csv or .parquet table")


def _add_reading_arguments(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add the options of how the file with samples is read."""
    parser.add_argument(
        "--x", metavar="NAME", help="name of the array of samples (default: x, x_train, or the only array)"
    )
    parser.add_argument("--y", metavar="NAME", help="name of the array of targets (default: y, or y_train)")
    text = "axis of an image's channels (default: auto: last if that axis, and not the first, has length 1, 3 or 4)"
    parser.add_argument("--channels", choices=("auto", "first", "last"), help=text)
    text = "scale the samples as the setting of this name does in a sweep (default: none)"
    parser.add_argument("--standardise", choices=_STANDARDISE, help=text)


def is_network(reference: str) -> bool:
    """Return True if a positional argument is module:function and not a file."""
    return ":" in reference and not Path(reference).exists()


def refuse_network_options(options: argparse.Namespace) -> None:
    """Refuse options for module:function where a sweep file is given.

    Raises:
        UserError: There is such an option.
    """
    for name in _NETWORK_OPTIONS:
        if getattr(options, name) is not None:
            raise UserError(f"--{name}: is for a network, module:function, but {options.config} is a sweep file")


def run_check(options: argparse.Namespace) -> int:
    """Check a network; return the exit code."""
    from nfa.cli.own_network import check_network

    return check_network(options)


def run_measure(options: argparse.Namespace) -> int:
    """Measure a network; return the exit code.

    Raises:
        UserError: Options are missing or do not go together.
    """
    for name, given in (
        ("--cells", options.cells),
        ("--save-every", options.save_every),
        ("--cores", options.cores),
    ):
        if given is not None:
            raise UserError(f"{name}: is for a sweep file, but {options.config} is module:function")
    if options.data is None:
        raise UserError(f"{options.config}: needs --data FILE, a .npz or .safetensors file with the samples x")
    if options.output is not None and options.output.suffix not in (".csv", ".parquet"):
        raise UserError(f"--output {options.output}: must end in .csv or .parquet")
    from nfa.cli.own_network import measure_network

    return measure_network(options)


def _shape(text: str) -> tuple[int, ...]:
    sizes = text.replace("x", ",").split(",")
    if not all(size.strip().isdecimal() and int(size) > 0 for size in sizes):
        raise argparse.ArgumentTypeError(f"{text!r} is not a shape such as 3,32,32")
    return tuple(map(int, sizes))
