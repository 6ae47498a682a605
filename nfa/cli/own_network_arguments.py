"""What ``nfa check`` and ``nfa measure`` take for a network of the user's own; torch is imported only when they run."""

import argparse
from pathlib import Path

from nfa.cli.arguments import positive, whole
from nfa.conventions import CORRELATIONS, POWERS
from nfa.errors import UserError

CHECK = "check on a network of your own that W^T K W is its average gradient outer product, layer by layer"
MODEL = "module:function that returns a network (an nn.Module, or its class, is one too); found from the current folder"
WEIGHTS = "weights to load, as saved with safetensors.torch.save_file(model.state_dict(), FILE)"
DATA = "samples: .npz or .safetensors with an array x (n, ...) and perhaps targets y; read as a sweep reads them"
DESCRIPTION = """\
Measure a network of your own, or every checkpoint of a sweep:
alignment.parquet, matrices.npz.
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

SEED = whole(0, 2**63 - 1, "a number from 0 to 2**63 - 1")  # goes into a table's column of 64-bit integers
_ESTIMATORS = ("auto", "exact", "sketched")
_LABELS = ("classes", "values", "onehot")
_STANDARDISE = ("none", "global", "per_channel", "per_feature")
_LOSSES = ("mse", "cross_entropy")
_OWN = (
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
    """Describe ``nfa check``."""
    parser.epilog = "Exit code: 0 all layers pass, 1 one does not, 2 a mistake in what was given."
    parser.add_argument("model", metavar="MODULE:FUNCTION", help=MODEL)
    parser.add_argument("--weights", type=Path, metavar="FILE", help=WEIGHTS)
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("--data", type=Path, metavar="FILE", help=DATA)
    _add_reading_arguments(parser)
    text = "draw normal samples of this shape, e.g. 3,32,32 or 784"
    given.add_argument("--input-shape", type=_shape, metavar="SIZES", help=text)
    parser.add_argument("--layers", nargs="+", metavar="NAME", help="layers to check (default: all)")
    parser.add_argument("--heads", action="store_true", help="take query, key and value apart by head")
    parser.add_argument("--samples", type=positive, default=4, metavar="N", help="samples to check on (default: 4)")
    parser.add_argument("--seed", type=SEED, default=0, metavar="S", help="for everything that is drawn (default: 0)")


def add_own_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe what ``nfa measure`` takes beside module:function; all default to None, so that use can be told."""
    for action in parser._actions:
        if action.dest == "config":
            action.metavar = "CONFIG|MODULE:FUNCTION"
            action.help = f"sweep file (YAML), or {MODEL}"
    parser.epilog = EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter  # the description then is not wrapped either
    parser.description = DESCRIPTION
    own = parser.add_argument_group("with module:function")
    own.add_argument("--weights", type=Path, metavar="FILE", help=WEIGHTS)
    own.add_argument("--data", type=Path, metavar="FILE", help=DATA)
    _add_reading_arguments(own)
    text = "what the targets are, where they could be several things; as in a sweep"
    own.add_argument("--labels", choices=_LABELS, help=text)
    own.add_argument("--initial", type=Path, metavar="FILE", help="weights before training, for the centred quantities")
    own.add_argument("--layers", nargs="+", metavar="NAME", help="layers to measure (default: all)")
    own.add_argument("--heads", action="store_true", default=None, help="take query, key and value apart by head")
    own.add_argument("--estimator", choices=_ESTIMATORS, help="default: auto, exact up to 64 outputs per sample")
    text = "measure on so many samples, drawn at random, and estimate for all (default: all)"
    own.add_argument("--samples", type=positive, metavar="M", help=text)
    own.add_argument("--probes", type=positive, metavar="P", help="probes in each of the two sketches (default: 1)")
    own.add_argument("--loss", choices=_LOSSES, help="for what needs dL/dW; takes targets y from the data")
    own.add_argument("--seed", type=SEED, metavar="S", help="for everything that is drawn (default: 0)")
    own.add_argument("--correlation", choices=CORRELATIONS, help="in the table shown (default: cosine)")
    own.add_argument("--power", choices=POWERS, help="in the table shown (default: 1)")
    own.add_argument("--output", type=Path, metavar="FILE", help="write every quantity to a .csv or .parquet table")


def _add_reading_arguments(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Describe how the file with samples is read."""
    parser.add_argument("--x", metavar="NAME", help="the array of samples (default: x, x_train, or the only one)")
    parser.add_argument("--y", metavar="NAME", help="the array of their targets (default: y, or y_train)")
    text = "where an image's channels are (default: auto, last if 1, 3 or 4 long there and not in front)"
    parser.add_argument("--channels", choices=("auto", "first", "last"), help=text)
    text = "scale the samples as the option of this name does in a sweep (default: none)"
    parser.add_argument("--standardise", choices=_STANDARDISE, help=text)


def is_own(reference: str) -> bool:
    """Whether a positional argument is module:function, and no file."""
    return ":" in reference and not Path(reference).exists()


def refuse_own(options: argparse.Namespace) -> None:
    """Refuse options for module:function beside a sweep file.

    Raises:
        UserError: There is one.
    """
    for name in _OWN:
        if getattr(options, name) is not None:
            raise UserError(f"--{name}: goes with module:function, and {options.config} is a sweep file")


def run_check(options: argparse.Namespace) -> int:
    """Check a network; return the exit code."""
    from nfa.cli.own_network import check_network

    return check_network(options)


def run_measure(options: argparse.Namespace) -> int:
    """Measure a network; return the exit code.

    Raises:
        UserError: Options that do not go together.
    """
    for name, given in (("--cells", options.cells), ("--save-every", options.save_every)):
        if given is not None:
            raise UserError(f"{name}: goes with a sweep file, and {options.config} is module:function")
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
