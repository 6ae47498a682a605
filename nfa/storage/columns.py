"""The columns of a cell's tables and their types."""

import pyarrow as pa

HISTORY = pa.schema(
    [
        ("seed", pa.int64()),
        ("step", pa.int64()),
        ("epoch", pa.float64()),
        ("split", pa.string()),
        ("metric", pa.string()),
        ("value", pa.float64()),
    ]
)

ALIGNMENT = pa.schema(
    [
        ("seed", pa.int64()),
        ("step", pa.int64()),
        ("layer", pa.string()),
        ("layer_index", pa.int64()),
        ("depth_from_output", pa.int64()),
        ("quantity", pa.string()),
        ("correlation", pa.string()),
        ("power", pa.string()),
        ("exponent", pa.float64()),
        ("value", pa.float64()),
        ("stderr", pa.float64()),
        ("estimator", pa.string()),
        ("n", pa.int64()),
        ("note", pa.string()),
    ]
)

PROBES = pa.schema(
    [
        ("seed", pa.int64()),
        ("step", pa.int64()),
        ("layer", pa.string()),
        ("probe", pa.string()),
        ("features", pa.string()),
        ("split", pa.string()),
        ("metric", pa.string()),
        ("value", pa.float64()),
        ("penalty", pa.float64()),
        ("bandwidth", pa.float64()),
        ("note", pa.string()),
    ]
)

TIMINGS = pa.schema(
    [
        ("stage", pa.string()),
        ("seed", pa.int64()),
        ("seconds", pa.float64()),
        ("peak_memory_mib", pa.float64()),
    ]
)

TRIALS = pa.schema(
    [
        ("trial", pa.int64()),
        ("values", pa.string()),  # the tuned settings with their values in this trial, as JSON
        ("seed", pa.int64()),
        ("step", pa.int64()),
        ("epoch", pa.float64()),
        ("split", pa.string()),  # train, or validation
        ("metric", pa.string()),
        ("value", pa.float64()),
    ]
)
