"""Operators of the domain ai.onnx.ml: tables of features and trees over them."""

from __future__ import annotations

from typing import Any

import numpy as np

import mlcore as ml
from mlcore.errors import ArgumentError, UnsupportedOpError
from mlcore_onnx.ops.declare import ML, onnx_op
from mlcore_onnx.values import on_host, to_numpy


@onnx_op("ArrayFeatureExtractor", 1, domain=ML, host=("places",), moves=True)
def array_feature_extractor(x: Any, places: Any) -> Any:
    found = ml.take(x, ml.asarray(places.reshape(-1).astype(np.int64), device=x.device), axis=x.ndim - 1)
    return ml.reshape(found, (1, -1)) if x.ndim == 1 else found


@onnx_op("Binarizer", 1, domain=ML)
def binarizer(x: Any, *, threshold: float = 0.0) -> Any:
    return ml.astype(ml.greater(x, threshold), x.dtype)


@onnx_op("Scaler", 1, domain=ML)
def scaler(x: Any, *, offset: Any = (0.0,), scale: Any = (1.0,)) -> Any:
    low, by = (ml.asarray(np.asarray(one, np.float32), device=x.device) for one in (offset, scale))
    return (ml.astype(x, ml.float32) - low) * by


@onnx_op("Normalizer", 1, domain=ML)
def normalizer(x: Any, *, norm: str = "MAX") -> Any:
    x = ml.astype(x, ml.float32)
    if norm == "MAX":
        size = ml.max(x, axis=-1, keepdims=True)
    elif norm == "L1":
        size = ml.sum(ml.abs(x), axis=-1, keepdims=True)
    elif norm == "L2":
        size = ml.sqrt(ml.sum(x * x, axis=-1, keepdims=True))
    else:
        raise ArgumentError(f"Normalizer: norm {norm!r}", fix="MAX, L1 or L2")
    return x / ml.where(ml.equal(size, 0), 1, size)


@onnx_op("LabelEncoder", 2, domain=ML, raw=True)
def label_encoder(
    x: Any, *, keys_floats: Any = None, keys_int64s: Any = None, keys_strings: Any = None, keys_tensor: Any = None,
    values_floats: Any = None, values_int64s: Any = None, values_strings: Any = None, values_tensor: Any = None,
    default_float: float = -0.0, default_int64: int = -1, default_string: str = "_Unused", default_tensor: Any = None,
) -> Any:  # fmt: skip
    keys = _first("keys", keys_floats, keys_int64s, keys_strings, keys_tensor)
    values = _first("values", values_floats, values_int64s, values_strings, values_tensor)
    kind: Any
    if values_tensor is not None:
        kind, default = (
            values_tensor.dtype,
            default_tensor.reshape(-1)[0] if default_tensor is not None else 0,
        )
    elif values_floats is not None:
        kind, default = np.float32, default_float
    elif values_int64s is not None:
        kind, default = np.int64, default_int64
    else:
        kind, default = object, default_string
    if len(keys) != len(values):
        raise ArgumentError(f"LabelEncoder: {len(keys)} keys, {len(values)} values")
    table = dict(zip(keys, values, strict=True))
    nan = next((table[one] for one in keys if isinstance(one, float) and one != one), default)
    array = np.asarray(to_numpy(x))
    flat = [
        nan if isinstance(one, float) and one != one else table.get(one, default)
        for one in array.reshape(-1).tolist()
    ]
    found = np.empty(len(flat), kind)
    found[:] = flat
    return on_host(found.reshape(array.shape))


def _first(what: str, *given: Any) -> list[Any]:
    for one in given:
        if one is not None:
            return one.reshape(-1).tolist() if isinstance(one, np.ndarray) else list(one)
    raise ArgumentError(f"LabelEncoder without {what}")


_COMPARE = {0: np.less_equal, 1: np.less, 2: np.greater_equal, 3: np.greater, 4: np.equal, 5: np.not_equal}


@onnx_op("TreeEnsemble", 5, domain=ML, host=("x",))
def tree_ensemble(
    x: Any, *, aggregate_function: int = 1, leaf_targetids: Any, leaf_weights: Any, membership_values: Any = None,
    n_targets: int, nodes_falseleafs: Any, nodes_falsenodeids: Any, nodes_featureids: Any, nodes_hitrates: Any = None,
    nodes_missing_value_tracks_true: Any = None, nodes_modes: Any, nodes_splits: Any, nodes_trueleafs: Any,
    nodes_truenodeids: Any, post_transform: int = 0, tree_roots: Any,
) -> Any:  # fmt: skip
    """All rows walk down each tree together, on the host."""
    if post_transform:
        raise UnsupportedOpError(
            f"TreeEnsemble with post_transform={post_transform}", fix="apply it by operators of its own"
        )
    if aggregate_function not in (0, 1, 2, 3):
        raise ArgumentError(f"TreeEnsemble: aggregate_function {aggregate_function}")
    modes, splits = np.asarray(nodes_modes), np.asarray(nodes_splits)
    features = np.asarray(nodes_featureids)
    following = (np.asarray(nodes_falsenodeids), np.asarray(nodes_truenodeids))
    leaves = (np.asarray(nodes_falseleafs), np.asarray(nodes_trueleafs))
    tracks = (
        np.zeros(len(modes))
        if nodes_missing_value_tracks_true is None
        else np.asarray(nodes_missing_value_tracks_true)
    )
    members = _members(modes, membership_values)
    targets, weights = np.asarray(leaf_targetids), np.asarray(leaf_weights)
    made = []
    for root in tree_roots:
        rows = np.arange(x.shape[0])
        node, done = np.full(len(rows), root), np.zeros(len(rows), bool)
        for _ in range(len(modes) + 1):
            if done.all():
                break
            value, now = x[rows, features[np.where(done, 0, node)]], np.where(done, 0, node)
            yes = np.zeros(len(rows), bool)
            for mode, compare in _COMPARE.items():
                chosen = modes[now] == mode
                yes[chosen] = compare(value[chosen], splits[now[chosen]])
            for row in np.flatnonzero((modes[now] == 6) & ~done):
                yes[row] = float(value[row]) in members[now[row]]
            yes |= np.isnan(value) & (tracks[now] != 0)
            goes = np.where(yes, following[1][now], following[0][now])
            leaf = np.where(yes, leaves[1][now], leaves[0][now]).astype(bool)
            node = np.where(done, node, goes)
            done = done | leaf
        if not done.all():
            raise ArgumentError("TreeEnsemble: a tree whose nodes go in a circle")
        tree = np.full((len(rows), n_targets), np.nan)
        tree[rows, targets[node]] = weights[node]
        made.append(tree)
    stacked = np.stack(made)
    with np.errstate(all="ignore"):
        if aggregate_function in (0, 1):
            total = np.nansum(stacked, axis=0)
            total = total / len(made) if aggregate_function == 0 else total
        else:
            fold = np.fmin if aggregate_function == 2 else np.fmax
            total = fold.reduce(stacked, axis=0)
            total = np.where(np.isnan(total), 0, total)
    return on_host(total.astype(np.asarray(leaf_weights).dtype))


def _members(modes: Any, values: Any) -> dict[int, set[float]]:
    """For each node that asks for membership, its set: they follow one another, with NaN in between."""
    nodes = iter(np.flatnonzero(modes == 6).tolist())
    found: dict[int, set[float]] = {}
    held: set[float] = set()
    for one in () if values is None else np.asarray(values).reshape(-1).tolist():
        if one != one:
            found[next(nodes, -1)] = held
            held = set()
        else:
            held.add(one)
    return {**{int(i): set() for i in np.flatnonzero(modes == 6)}, **found}
