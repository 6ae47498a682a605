"""The places of layers in their networks, looked up in the alignment table by the names that other tables have."""

import pandas as pd


def layer_places(alignment: pd.DataFrame) -> pd.DataFrame:
    """List the layers of every cell with their places.

    A layer that was measured head by head is listed under its own name, too, with the place of its first head, because
    probes and early dynamics take it as a whole.

    Args:
        alignment: Rows of the alignment table with the column ``cell``, in the order of ``layer_index``.

    Returns:
        One row per cell and name: ``cell``, ``layer`` (str), ``layer_index``, ``depth_from_output``.

    Example:
        >>> rows = [("a", "embed", 0, 2), ("a", "query.0", 1, 1), ("a", "query.1", 2, 1), ("a", "readout", 3, 0)]
        >>> table = pd.DataFrame(rows, columns=["cell", "layer", "layer_index", "depth_from_output"])
        >>> layer_places(table).query("layer == 'query'")[["layer_index", "depth_from_output"]].values.tolist()
        [[1, 1]]
    """
    places = alignment[["cell", "layer", "layer_index", "depth_from_output"]].drop_duplicates(["cell", "layer"])
    names = places["layer"].astype(str)
    both = pd.concat([places.assign(layer=names), places.assign(layer=names.str.rpartition(".")[0])])
    return both.drop_duplicates(["cell", "layer"], ignore_index=True)
