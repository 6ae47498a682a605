"""Image sets of torchvision, downloaded by torchvision or read from a copy with its folder layout.

Pixels are numbers from 0 to 255 before standardisation. The size of each set is known here, so planning needs no file.
CIFAR-10 and CIFAR-100 are distributed as Python pickles: torchvision, not this package, unpickles them after it has
checked their MD5. The images of EMNIST are stored transposed, and stay so.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from filelock import FileLock
from pydantic import model_validator

from nfa.data.options import STANDARDISE, RowOptions, Standardise, chosen, finish
from nfa.data.shape import Data, DataEntry, DataShape
from nfa.entries import setting
from nfa.errors import UserError, nearest, one_line
from nfa.external.torchvision_import import torchvision


class _Images(RowOptions):
    """Settings of every set; the folder of the copy does not identify the data, so it changes no cell."""

    root: str = setting("data", "folder of torchvision's data sets", min_length=1, exclude=True)
    download: bool = setting(True, "download a set that is not in `root`", exclude=True)
    standardise: Standardise = setting("per_channel", STANDARDISE)

    @model_validator(mode="after")
    def _enough(self) -> "_Images":
        _, train, test = _counts(self)
        for key, wanted, there in ((*self.training, train), ("n_test", self.n_test, test)):
            if wanted is not None and wanted > there:
                raise ValueError(f"{key}: {wanted} is more than the {there} available images; use fewer")
        return self


class VisionSet(_Images):
    """Settings of the sets that have no further settings."""

    name: Literal["mnist", "fashion_mnist", "kmnist", "cifar10", "cifar100", "svhn", "stl10"]


class Emnist(_Images):
    """Settings of ``emnist``."""

    name: Literal["emnist"] = "emnist"
    split: Literal["balanced", "byclass", "bymerge", "letters", "digits", "mnist"] = setting(
        "balanced", "the part of EMNIST"
    )

    tags = {"split": "", **_Images.tags}
    quiet_tags = frozenset(tags)


class Gtsrb(_Images):
    """Settings of ``gtsrb``."""

    name: Literal["gtsrb"] = "gtsrb"
    size: int = setting(32, "height and width that each image is resized to", ge=4, le=256)

    tags = {"size": "px", **_Images.tags}
    quiet_tags = frozenset(tags)


class CelebA(_Images):
    """Settings of ``celeba``."""

    name: Literal["celeba"] = "celeba"
    attribute: str = setting("Smiling", "the attribute, of 40, that is the class, e.g. Male, Eyeglasses", min_length=1)
    size: int = setting(32, "height and width that each image's central square is resized to", ge=4, le=178)

    tags = {"attribute": "", "size": "px", **_Images.tags}
    quiet_tags = frozenset(tags)


AnySet = VisionSet | Emnist | Gtsrb | CelebA


@dataclass(frozen=True)
class _Set:
    """The facts about a set that need no file.

    Attributes:
        cls: Name of torchvision's class.
        pixels: Shape of an image; None if a setting decides.
        classes: Number of classes.
        n_train: Images of its training split.
        n_test: Images of its test split.
        place: The set's file or folder inside ``root``.
        source: The site that the set is downloaded from.
        read: (torchvision's data set, indices, settings) -> images (n, C, H, W) and labels (n,).
    """

    cls: str
    pixels: tuple[int, int, int] | None
    classes: int
    n_train: int
    n_test: int
    place: str
    source: str
    read: Callable[[Any, np.ndarray, Any], tuple[np.ndarray, np.ndarray]]


def _mnist(found: Any, rows: np.ndarray, settings: Any) -> tuple[np.ndarray, np.ndarray]:
    return found.data.numpy()[rows, None], np.asarray(found.targets)[rows]


def _emnist(found: Any, rows: np.ndarray, settings: Emnist) -> tuple[np.ndarray, np.ndarray]:
    x, labels = _mnist(found, rows, settings)
    return x, labels - 1 if settings.split == "letters" else labels  # EMNIST numbers the classes of this part from 1


def _cifar(found: Any, rows: np.ndarray, settings: Any) -> tuple[np.ndarray, np.ndarray]:
    return found.data[rows].transpose(0, 3, 1, 2), np.asarray(found.targets)[rows]


def _planes(found: Any, rows: np.ndarray, settings: Any) -> tuple[np.ndarray, np.ndarray]:
    return found.data[rows], np.asarray(found.labels)[rows]


def _gtsrb(found: Any, rows: np.ndarray, settings: Gtsrb) -> tuple[np.ndarray, np.ndarray]:
    samples = [found[int(row)] for row in rows]
    pixels = np.stack([_resized(image, settings.size) for image, _ in samples])
    return pixels, np.array([label for _, label in samples])


def _celeba(found: Any, rows: np.ndarray, settings: CelebA) -> tuple[np.ndarray, np.ndarray]:
    names = [name for name in found.attr_names if name]
    if settings.attribute not in names:
        raise UserError(f"celeba: no attribute {one_line(settings.attribute)}; {nearest(settings.attribute, names)}")
    labels = found.attr[:, names.index(settings.attribute)].numpy()[rows]
    return np.stack([_resized(_central(found[int(row)][0]), settings.size) for row in rows]), labels


def _central(image: Any) -> Any:
    """Crop a PIL image to its central square."""
    side = min(image.size)
    left, top = ((extent - side) // 2 for extent in image.size)
    return image.crop((left, top, left + side, top + side))


def _resized(image: Any, size: int) -> np.ndarray:
    """Resize a PIL image by antialiased bilinear interpolation: (3, size, size) uint8."""
    from PIL.Image import Resampling

    pixels = np.asarray(image.convert("RGB").resize((size, size), Resampling.BILINEAR))
    return pixels.transpose(2, 0, 1)


_GREY, _COLOUR = (1, 28, 28), (3, 32, 32)
_SETS = {
    "mnist": _Set("MNIST", _GREY, 10, 60_000, 10_000, "MNIST/raw", "yann.lecun.com/exdb/mnist", _mnist),
    "fashion_mnist": _Set(
        "FashionMNIST", _GREY, 10, 60_000, 10_000, "FashionMNIST/raw", "github.com/zalandoresearch", _mnist
    ),
    "kmnist": _Set("KMNIST", _GREY, 10, 60_000, 10_000, "KMNIST/raw", "codh.rois.ac.jp/kmnist", _mnist),
    "emnist": _Set("EMNIST", _GREY, 47, 112_800, 18_800, "EMNIST/raw", "nist.gov", _emnist),
    "cifar10": _Set(
        "CIFAR10", _COLOUR, 10, 50_000, 10_000, "cifar-10-batches-py", "cs.toronto.edu/~kriz/cifar.html", _cifar
    ),
    "cifar100": _Set(
        "CIFAR100", _COLOUR, 100, 50_000, 10_000, "cifar-100-python", "cs.toronto.edu/~kriz/cifar.html", _cifar
    ),
    "svhn": _Set("SVHN", _COLOUR, 10, 73_257, 26_032, "train_32x32.mat", "ufldl.stanford.edu/housenumbers", _planes),
    "stl10": _Set("STL10", (3, 96, 96), 10, 5000, 8000, "stl10_binary", "ai.stanford.edu/~acoates/stl10", _planes),
    "gtsrb": _Set("GTSRB", None, 43, 26_640, 12_630, "gtsrb", "sid.erda.dk", _gtsrb),
    "celeba": _Set("CelebA", None, 2, 162_770, 19_962, "celeba", "mmlab.ie.cuhk.edu.hk/projects/CelebA.html", _celeba),
}
_EMNIST = {  # split -> (classes, training images, test images)
    "balanced": (47, 112_800, 18_800),
    "byclass": (62, 697_932, 116_323),
    "bymerge": (47, 697_932, 116_323),
    "letters": (26, 124_800, 20_800),
    "digits": (10, 240_000, 40_000),
    "mnist": (10, 60_000, 10_000),
}


def _counts(settings: _Images) -> tuple[int, int, int]:
    """Return the numbers of classes, training images and test images."""
    if isinstance(settings, Emnist):
        return _EMNIST[settings.split]
    known = _SETS[settings.name]  # type: ignore[attr-defined]
    return known.classes, known.n_train, known.n_test


def shape(settings: AnySet) -> DataShape:
    """Describe a set without its files."""
    known = _SETS[settings.name]
    classes, n_train, n_test = _counts(settings)
    pixels = (3, settings.size, settings.size) if isinstance(settings, Gtsrb | CelebA) else known.pixels
    assert pixels is not None
    return DataShape(pixels, classes, classes, settings.training[1] or n_train, settings.n_test or n_test)


def load(settings: AnySet, generator: np.random.Generator) -> Data:
    """Read the images, and download them first if they are missing.

    Raises:
        UserError: The images are missing and cannot be downloaded, or there are too few of them.
    """
    promised, known = shape(settings), _SETS[settings.name]
    parts = []
    for train, wanted in ((True, promised.n_train), (False, promised.n_test)):
        found = _found(settings, train)
        if len(found) < wanted:
            part, key = ("training", settings.training[0]) if train else ("test", "n_test")
            raise UserError(
                f"{settings.name}: {settings.root} holds {len(found)} {part} images and {wanted} are wanted; give "
                f"{key}: {len(found)} or fewer"
            )
        try:
            rows = settings.training_rows(len(found)) if train else chosen(len(found), wanted)
            x, labels = known.read(found, rows, settings)
        except (OSError, ValueError, IndexError) as error:  # exceptions of PIL are among these
            raise _unusable(settings, error) from None
        parts.append((x.astype(np.float32), labels))
    (x_train, y_train), (x_test, y_test) = parts
    return finish(settings, generator, (x_train, x_test), (y_train, y_test), promised.classes)


def _found(settings: AnySet, train: bool) -> Any:
    """Open a split with torchvision: the copy in ``root``, or else a download, by one process at a time."""
    known = _SETS[settings.name]
    make = getattr(torchvision().datasets, known.cls)
    root = Path(settings.root).expanduser()
    options: dict[str, Any] = {"root": str(root)}
    if settings.name in ("svhn", "stl10", "gtsrb", "celeba"):
        options["split"] = "train" if train else "test"
    else:
        options["train"] = train
    if isinstance(settings, Emnist):
        options["split"] = settings.split
    try:
        return make(**options, download=False)
    except Exception as error:  # of torchvision, scipy or PIL
        reason = error
    if settings.download:
        try:
            root.mkdir(parents=True, exist_ok=True)
            with FileLock(root / f".{settings.name}.lock"):
                return make(**options, download=True)
        except Exception as error:
            reason = error
    raise _unusable(settings, reason)


def _unusable(settings: AnySet, reason: Exception) -> UserError:
    """Make the error for a missing or damaged set; it names the expected place, the source, and how to give a copy."""
    known = _SETS[settings.name]
    place = Path(settings.root).expanduser() / known.place
    if place.is_file() or any(path.is_file() for path in place.rglob("*")):  # torchvision leaves empty folders
        wrong = f"a partial or damaged copy in {place}; remove it"
    else:
        wrong = "cannot be downloaded" if settings.download else "not there, and download is false"
    source = _source(getattr(torchvision().datasets, known.cls), known)
    cause = " ".join(f"{type(reason).__name__}: {reason}".split())
    return UserError(
        f"{settings.name}: {wrong}: torchvision.datasets.{known.cls} expects {place}, or gets it from {source}; "
        f"set `root` to a folder that holds a copy as {known.place} ({cause[:160]})"
    )


def _source(make: Any, known: _Set) -> str:
    """Return the address that torchvision's class downloads from, or else the site that is known here."""
    mirrors = vars(make).get("mirrors")  # EMNIST inherits the mirrors of MNIST, which do not hold it
    source = mirrors[0] if mirrors else getattr(make, "url", known.source)
    return source if isinstance(source, str) else known.source


def _entry(kind: type[AnySet], about: str) -> DataEntry:
    return DataEntry(kind, shape, load, about)


ENTRIES = {
    "mnist": _entry(VisionSet, "MNIST, 70,000 handwritten digits, 28 x 28"),
    "fashion_mnist": _entry(VisionSet, "Fashion-MNIST, 70,000 pieces of clothing, 28 x 28"),
    "kmnist": _entry(VisionSet, "Kuzushiji-MNIST, 70,000 cursive Japanese characters, 28 x 28"),
    "emnist": _entry(Emnist, "EMNIST, letters and digits, 28 x 28"),
    "cifar10": _entry(VisionSet, "CIFAR-10, 60,000 colour images, 32 x 32"),
    "cifar100": _entry(VisionSet, "CIFAR-100, 60,000 colour images of 100 classes, 32 x 32"),
    "svhn": _entry(VisionSet, "SVHN, 99,289 house numbers in colour, 32 x 32"),
    "stl10": _entry(VisionSet, "STL-10, 13,000 labelled colour images, 96 x 96"),
    "gtsrb": _entry(Gtsrb, "GTSRB, 39,270 German traffic signs of 43 classes, resized"),
    "celeba": _entry(CelebA, "CelebA, 182,732 faces, one attribute as the class, resized"),
}
