"""Image sets of torchvision, read from small files in the original formats that the tests write; no downloads."""

import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nfa.data import DATA
from nfa.data.vision_sets import _SETS, CelebA
from nfa.errors import UserError
from nfa.external.torchvision_import import torchvision
from nfa.random import numpy_generator
from tests.data.test_entries import check

RNG = np.random.default_rng(0)
SIZES = {"train": 40, "test": 20}


def idx(path: Path, array: np.ndarray) -> None:
    """Write unsigned bytes in the IDX format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sizes = np.array(array.shape, ">i4").tobytes()
    path.write_bytes(bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes())


def pixels(n: int, *shape: int) -> np.ndarray:
    return RNG.integers(256, size=(n, *shape), dtype=np.uint8)


def mnist(root: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for split, prefix in (("train", "train"), ("test", "t10k")):
        raw = root / _SETS[name].cls / "raw"
        idx(raw / f"{prefix}-images-idx3-ubyte", pixels(SIZES[split], 28, 28))
        idx(raw / f"{prefix}-labels-idx1-ubyte", np.arange(SIZES[split]) % 10)


def emnist(root: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for split, n in SIZES.items():
        raw = root / "EMNIST" / "raw"
        idx(raw / f"emnist-letters-{split}-images-idx3-ubyte", pixels(n, 28, 28))
        idx(raw / f"emnist-letters-{split}-labels-idx1-ubyte", np.arange(n) % 26 + 1)


def cifar(root: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """CIFAR is distributed as pickles, which we neither read nor write: torchvision's class is replaced."""

    class Cifar:
        def __init__(self, root: str, train: bool, download: bool) -> None:
            n = SIZES["train" if train else "test"]
            self.data = np.full((n, 32, 32, 3), [1, 2, 3], np.uint8) + (np.arange(n) % 7)[:, None, None, None]
            self.targets = [int(i) for i in np.arange(n) % 10]

        def __len__(self) -> int:
            return len(self.data)

    monkeypatch.setattr(torchvision().datasets, _SETS[name].cls, Cifar)


def svhn(root: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from scipy.io import savemat

    for split, n in SIZES.items():
        savemat(root / f"{split}_32x32.mat", {"X": pixels(32, 32, 3, n), "y": (np.arange(n) % 10 + 1)[:, None]})
    unchecked = {split: ["", f"{split}_32x32.mat", None] for split in SIZES}
    monkeypatch.setattr(torchvision().datasets.SVHN, "split_list", unchecked)


def stl10(root: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = root / "stl10_binary"
    folder.mkdir()
    for split, n in SIZES.items():
        (folder / f"{split}_X.bin").write_bytes(pixels(n, 3, 96, 96).tobytes())
        (folder / f"{split}_y.bin").write_bytes((np.arange(n) % 10 + 1).astype(np.uint8).tobytes())
    (folder / "class_names.txt").write_text("a\nb\n")
    cls = torchvision().datasets.STL10
    monkeypatch.setattr(cls, "train_list", [["train_X.bin", None], ["train_y.bin", None]])
    monkeypatch.setattr(cls, "test_list", [["test_X.bin", None], ["test_y.bin", None]])


def gtsrb(root: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = root / "gtsrb" / "GTSRB"
    (folder / "Final_Test" / "Images").mkdir(parents=True)
    for i in range(SIZES["train"]):
        place = folder / "Training" / f"{i % 43:05d}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels(20 + i, 30, 3)).save(place / f"{i}.ppm")
    rows = ["Filename;Width;Height;ClassId"]
    for i in range(SIZES["test"]):
        Image.fromarray(pixels(25, 20 + i, 3)).save(folder / "Final_Test" / "Images" / f"{i}.ppm")
        rows.append(f"{i}.ppm;1;1;{i}")
    (root / "gtsrb" / "GT-final_test.csv").write_text("\n".join(rows))


def celeba(root: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, n = root / "celeba", sum(SIZES.values())
    (folder / "img_align_celeba").mkdir(parents=True)
    names = [f"{i:06d}.jpg" for i in range(n)]
    for file in names:
        Image.fromarray(pixels(218, 178, 3)).save(folder / "img_align_celeba" / file)
    split = [0] * SIZES["train"] + [2] * SIZES["test"]
    smiling = [1 if i % 3 == 0 else -1 for i in range(n)]
    tables = {
        "list_eval_partition.txt": [f"{f} {s}" for f, s in zip(names, split, strict=True)],
        "identity_CelebA.txt": [f"{f} 1" for f in names],
        "list_bbox_celeba.txt": [str(n), "x y", *(f"{f} 1 2" for f in names)],
        "list_landmarks_align_celeba.txt": [str(n), "x y", *(f"{f} 1 2" for f in names)],
        "list_attr_celeba.txt": [str(n), "Male Smiling", *(f"{f} -1 {s}" for f, s in zip(names, smiling, strict=True))],
    }
    for file, lines in tables.items():
        (folder / file).write_text("\n".join(lines) + "\n")
    cls = torchvision().datasets.CelebA
    monkeypatch.setattr(cls, "file_list", [(None, None, file) for _, _, file in cls.file_list])


CASES: list[tuple[str, Any, dict[str, Any]]] = [
    ("mnist", mnist, {}),
    ("fashion_mnist", mnist, {}),
    ("kmnist", mnist, {}),
    ("emnist", emnist, {"split": "letters"}),
    ("cifar10", cifar, {}),
    ("cifar100", cifar, {}),
    ("svhn", svhn, {}),
    ("stl10", stl10, {}),
    ("gtsrb", gtsrb, {"size": 16}),
    ("celeba", celeba, {"size": 12}),
]


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut off the internet."""

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise OSError("no network here")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    for key in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(key, raising=False)


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(("name", "write", "more"), CASES, ids=[case[0] for case in CASES])
def test_a_set_is_read_from_files_in_its_format(
    name: str, write: Any, more: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, name, monkeypatch)
    entry = DATA[name]
    keys: dict[str, Any] = {"name": name, "root": str(tmp_path), "n_train": 30, "n_test": 15, **more}
    settings = entry.settings(**keys)
    data = entry.load(settings, numpy_generator("data", 0))
    check(entry.shape(settings), data)
    np.testing.assert_allclose(data.x_train.astype(np.float64).mean(axis=(0, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(data.x_train.astype(np.float64).std(axis=(0, 2, 3)), 1, atol=1e-5)
    raw = entry.load(entry.settings(**(keys | {"standardise": "none"})), numpy_generator("data", 1))
    assert 0 <= raw.x_train.min() < raw.x_train.max() <= 255
    np.testing.assert_array_equal(raw.labels_train, data.labels_train)  # the subset is the same for every seed
    with pytest.raises(UserError, match=r"holds 20 test images and 25 are wanted; give n_test: 20 or fewer"):
        entry.load(entry.settings(**(keys | {"n_test": 25})), numpy_generator("data", 0))


@pytest.mark.usefixtures("offline")
def test_images_keep_their_orientation_and_channels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cifar(tmp_path, "cifar10", monkeypatch)
    entry = DATA["cifar10"]
    keys: dict[str, Any] = {"name": "cifar10", "n_train": 40, "n_test": 20, "standardise": "none"}
    data = entry.load(entry.settings(**keys), numpy_generator("data", 0))
    np.testing.assert_array_equal(data.x_train[0, :, 0, 0], [1, 2, 3])
    assert data.labels_train is not None
    np.testing.assert_array_equal(data.labels_train, np.arange(40) % 10)  # all of it, in its own order
    first = entry.load(entry.settings(**{"name": "cifar10", "first": 10, "n_test": 20}), numpy_generator("data", 0))
    np.testing.assert_array_equal(first.labels_train, np.arange(10))
    mnist(tmp_path, "mnist", monkeypatch)
    written = torchvision().datasets.MNIST(str(tmp_path)).data.numpy()
    settings = DATA["mnist"].settings(**(keys | {"name": "mnist", "root": str(tmp_path)}))
    np.testing.assert_array_equal(DATA["mnist"].load(settings, numpy_generator("data", 0)).x_train[:, 0], written)


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("name", [case[0] for case in CASES])
@pytest.mark.parametrize("download", [True, False])
def test_a_set_that_is_not_there_is_one_line(name: str, download: bool, tmp_path: Path) -> None:
    keys: dict[str, Any] = {"name": name, "root": str(tmp_path / "none"), "download": download}
    settings = DATA[name].settings(**keys)
    with pytest.raises(UserError) as caught:
        DATA[name].load(settings, numpy_generator("data", 0))
    told, known = str(caught.value), _SETS[name]
    assert told.startswith(f"{name}: {'cannot be downloaded' if download else 'not there, and download is false'}")
    assert f"torchvision.datasets.{known.cls}" in told
    assert str(tmp_path / "none" / known.place) in told
    assert "set `root` to a folder" in told
    assert "\n" not in told
    assert (tmp_path / "none").exists() == download


def halved(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("damage", [halved, Path.unlink], ids=["damaged", "partial"])
@pytest.mark.parametrize("download", [True, False])
@pytest.mark.parametrize(("name", "write", "more"), CASES, ids=[case[0] for case in CASES])
def test_a_damaged_or_partial_copy_is_one_line(
    name: str,
    write: Any,
    more: dict[str, Any],
    download: bool,
    damage: Any,
    tmp_path: Path,
) -> None:
    if write is cifar:  # files of the right names; what they must hold, torchvision knows by its MD5
        for called in ("data_batch_1", "test_batch", "train", "test"):
            (tmp_path / _SETS[name].place).mkdir(exist_ok=True)
            (tmp_path / _SETS[name].place / called).write_bytes(b"no pickle")
    else:
        with pytest.MonkeyPatch.context() as patched:  # torchvision then checks what it can check
            write(tmp_path, name, patched)
    place = tmp_path / _SETS[name].place
    files = [place] if place.is_file() else sorted(path for path in place.rglob("*") if path.is_file())
    for file in files if damage is halved else files[:1]:
        damage(file)
    keys: dict[str, Any] = {"name": name, "root": str(tmp_path), "download": download, "n_train": 30, "n_test": 15}
    with pytest.raises(UserError) as caught:
        DATA[name].load(DATA[name].settings(**(keys | more)), numpy_generator("data", 0))
    told, known = str(caught.value), _SETS[name]
    assert told.startswith(f"{name}: ")
    assert f"torchvision.datasets.{known.cls} expects {place}, or gets it from " in told
    assert f"set `root` to a folder that holds a copy as {known.place} (" in told
    assert "\n" not in told
    if (write, damage) == (svhn, Path.unlink):  # it is not in a folder of its own
        assert told.startswith(
            f"{name}: {'cannot be downloaded' if download else 'not there, and download is false'}: "
        )
    else:
        assert told.startswith(f"{name}: a partial or damaged copy in {place}; remove it: ")


@pytest.mark.usefixtures("offline")
def test_an_attribute_that_is_not_there_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    celeba(tmp_path, "celeba", monkeypatch)
    settings = CelebA(root=str(tmp_path), attribute="Smilng", n_train=10, n_test=10)
    with pytest.raises(UserError, match="celeba: no attribute 'Smilng'; did you mean 'Smiling'"):
        DATA["celeba"].load(settings, numpy_generator("data", 0))
