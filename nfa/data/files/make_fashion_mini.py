"""Make fashion_mini.npz from Debian's package dataset-fashion-mnist (``apt-get install dataset-fashion-mnist``).

    python nfa/data/files/make_fashion_mini.py [FOLDER]

The script takes the first 5,000 training and the first 1,000 test images, which stand in random class order, and
writes the SHA-256 of the result beside it. The same input gives the same bytes.
"""

import gzip
import hashlib
import pathlib
import sys
from typing import Any

import numpy as np

HERE = pathlib.Path(__file__).parent


def read_idx(path: pathlib.Path) -> np.ndarray:
    """Read one gzipped IDX file of unsigned bytes: magic 0, 0, 8, rank; then big-endian sizes; then the values."""
    raw = gzip.decompress(path.read_bytes())
    if raw[:3] != b"\x00\x00\x08":
        sys.exit(f"{path}: not an IDX file of unsigned bytes")
    rank = raw[3]
    sizes = np.frombuffer(raw, ">i4", count=rank, offset=4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * rank).reshape(sizes)


def main(folder: pathlib.Path) -> None:
    """Read the four IDX files, keep the first images, write the archive and its checksum."""
    arrays: dict[str, Any] = {}
    for part, prefix, count in (("train", "train", 5000), ("test", "t10k", 1000)):
        arrays[f"x_{part}"] = read_idx(folder / f"{prefix}-images-idx3-ubyte.gz")[:count]
        arrays[f"y_{part}"] = read_idx(folder / f"{prefix}-labels-idx1-ubyte.gz")[:count]
    out = HERE / "fashion_mini.npz"
    np.savez_compressed(out, **arrays)
    digest = hashlib.sha256(out.read_bytes()).hexdigest()
    (HERE / "fashion_mini.npz.sha256").write_text(f"{digest}  fashion_mini.npz\n")
    print(f"{out}: {out.stat().st_size} bytes, sha256 {digest}")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "/usr/share/datasets/fashion-mnist"))
