"""Texts: on the host, where NumPy holds them as objects."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from mlcore.errors import ArgumentError, UnsupportedOpError
from mlcore_onnx.ops.declare import onnx_op
from mlcore_onnx.values import on_host, to_numpy


def _texts(x: Any, what: str) -> Any:
    if not isinstance(x, np.ndarray) or x.dtype.kind not in "OUS":
        raise ArgumentError(f"{what} of {getattr(x, 'dtype', type(x).__name__)}", fix="use texts")
    return x


def _objects(values: list[Any], shape: tuple[int, ...]) -> Any:
    found = np.empty(len(values), object)
    found[:] = values
    return found.reshape(shape)


@onnx_op("StringNormalizer", 10, raw=True)
def normalizer(
    x: Any,
    *,
    case_change_action: str = "NONE",
    is_case_sensitive: int = 0,
    locale: str = "",
    stopwords: Any = (),
) -> Any:
    changes: dict[str, Callable[[str], str]] = {"NONE": str, "LOWER": str.lower, "UPPER": str.upper}
    change = changes.get(case_change_action)
    if change is None:
        raise ArgumentError(f"StringNormalizer: case_change_action {case_change_action!r}")
    stop = set(stopwords) if is_case_sensitive else {one.lower() for one in stopwords}
    texts = _texts(x, "StringNormalizer").reshape(-1).tolist()
    kept = [one for one in texts if (one if is_case_sensitive else one.lower()) not in stop]
    found = [change(one) for one in kept] or [""]
    return _objects(found, (len(found),) if x.ndim == 1 else (1, len(found)))


@onnx_op("StringConcat", 20, raw=True)
def concat(x: Any, y: Any) -> Any:
    return np.asarray(_texts(x, "StringConcat") + _texts(y, "StringConcat"), object)


@onnx_op("StringSplit", 20, raw=True)
def split(x: Any, *, delimiter: str = "", maxsplit: int | None = None) -> Any:
    texts = _texts(x, "StringSplit").reshape(-1).tolist()
    parts = [one.split(delimiter or None, -1 if maxsplit is None else maxsplit) for one in texts]
    wide = max(map(len, parts), default=0)
    flat = [text for one in parts for text in one + [""] * (wide - len(one))]
    counts = np.asarray([len(one) for one in parts], np.int64).reshape(x.shape)
    return _objects(flat, (*x.shape, wide)), on_host(counts)


@onnx_op("RegexFullMatch", 20, raw=True)
def regex_full_match(x: Any, *, pattern: str) -> Any:
    """The pattern is a stranger's: only forms that cannot run for ever are taken."""
    if re.search(r"\\[1-9]|\(\?[^:]|[*+}]\)?[*+{]|\)[*+{]", pattern) or len(pattern) > 500:
        raise UnsupportedOpError(
            f"RegexFullMatch of {pattern[:80]!r}", cause="repeated groups and references may take for ever here",
            fix="use a pattern without them",
        )  # fmt: skip
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ArgumentError(f"RegexFullMatch: {pattern[:80]!r}", cause=str(error)) from error
    texts = _texts(x, "RegexFullMatch").reshape(-1)
    return on_host(np.asarray([compiled.fullmatch(one) is not None for one in texts], bool).reshape(x.shape))


@onnx_op("TfIdfVectorizer", 9, raw=True)
def tf_idf(
    x: Any, *, max_gram_length: int, max_skip_count: int, min_gram_length: int, mode: str, ngram_counts: Any,
    ngram_indexes: Any, pool_int64s: Any = None, pool_strings: Any = None, weights: Any = None,
) -> Any:  # fmt: skip
    pool = list(pool_int64s if pool_int64s is not None else pool_strings or ())
    grams: dict[tuple[Any, ...], int] = {}
    bounds = [*ngram_counts, len(pool)]
    number = 0
    for length, (first, last) in enumerate(pairwise(bounds), start=1):
        for start in range(first, last - length + 1, length):
            grams[tuple(pool[start : start + length])] = number
            number += 1
    array = np.asarray(to_numpy(x))
    rows = array.reshape(1, -1) if array.ndim <= 1 else array
    found = np.zeros((rows.shape[0], max(ngram_indexes, default=-1) + 1), np.float32)
    for row, values in enumerate(rows.tolist()):
        for length in range(min_gram_length, max_gram_length + 1):
            for skip in range(max_skip_count + 1 if length > 1 else 1):
                reach = (length - 1) * (skip + 1)
                for start in range(len(values) - reach):
                    place = grams.get(tuple(values[start : start + reach + 1 : skip + 1]))
                    if place is not None:
                        found[row, ngram_indexes[place]] += 1
    scale = np.ones(found.shape[1], np.float32)
    for place, weight in zip(ngram_indexes, weights or ()):
        scale[place] = weight
    if mode == "IDF":
        found = np.minimum(found, 1)
    if mode in ("IDF", "TFIDF"):
        found = found * scale
    elif mode != "TF":
        raise ArgumentError(f"TfIdfVectorizer: mode {mode!r}", fix="TF, IDF or TFIDF")
    return on_host(found.reshape(-1) if array.ndim <= 1 else found)
