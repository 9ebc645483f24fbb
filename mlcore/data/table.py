"""Tables: columns of numbers and texts from CSV, Parquet and Arrow files, through pyarrow or pandas."""

from __future__ import annotations

import csv
import importlib.util
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from mlcore import dispatch, dtypes
from mlcore.data.dataset import Dataset, IterableDataset, TensorDataset, check_index, check_indices
from mlcore.errors import ArgumentError, DataError, FormatError, MlcoreError, did_you_mean
from mlcore.host import as_numpy

Array = np.ndarray[Any, Any]
PathLike = str | os.PathLike[str]
ENGINES: Final = ("auto", "pyarrow", "pandas", "python")


class TableDataset(Dataset[dict[str, Any]]):
    """Rows of named columns: a sample is a dict, a batch a dict of tensors (and of lists, for columns of text).

    >>> from mlcore import data
    >>> table = data.TableDataset({"x": [1.0, 2.0], "name": ["a", "b"]})
    >>> table[1], len(table)
    ({'x': 2.0, 'name': 'b'}, 2)
    """

    def __init__(self, columns: Mapping[str, Any]) -> None:
        if not columns:
            raise DataError("TableDataset: no columns given")
        self.columns = {name: _column(name, values) for name, values in columns.items()}
        sizes = {name: len(one) for name, one in self.columns.items()}
        if len(set(sizes.values())) > 1:
            raise DataError(
                f"TableDataset: lengths differ: {', '.join(f'{name} has {n}' for name, n in sizes.items())}"
            )

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitem__(self, index: Any) -> dict[str, Any]:
        place = check_index("TableDataset", index, len(self))
        return {name: _item(one[place]) for name, one in self.columns.items()}

    def batch(self, indices: Array) -> dict[str, Any]:
        """The rows at these indices as a dict of columns."""
        check_indices("TableDataset", indices, len(self))
        return {name: _collated(one[indices]) for name, one in self.columns.items()}

    def column(self, name: str) -> Array:
        """One column as an array."""
        if name not in self.columns:
            raise ArgumentError(
                f"TableDataset: no column {name!r}{did_you_mean(name, self.columns)}",
                known=", ".join(self.columns),
            )
        return self.columns[name]

    def tensors(self, features: Sequence[str], target: str | None = None, dtype: Any = None) -> TensorDataset:
        """Number columns side by side as one matrix, of the default dtype, and a target column: (features, target).

        >>> from mlcore import data
        >>> table = data.TableDataset({"x": [1, 2], "y": [3, 4], "label": [0, 1]})
        >>> row, label = table.tensors(["x", "y"], "label")[1]
        >>> row.tolist(), label.item()
        ([2.0, 4.0], 1)
        """
        found = [self.column(name) for name in features]
        if not found:
            raise ArgumentError("TableDataset.tensors: no features named")
        for name, one in zip(features, found, strict=True):
            if one.dtype.kind not in "biuf" or one.ndim != 1:
                raise DataError(f"TableDataset: column {name!r} holds {one.dtype}, no numbers",
                                fix="convert it, or leave it out")  # fmt: skip
        matrix = dispatch.from_data(
            np.stack([one.astype(np.float64) for one in found], axis=1), dtype or dtypes.default_float()
        )
        return TensorDataset(matrix, *([self.column(target)] if target is not None else []))


def read_csv(
    path: PathLike,
    columns: Sequence[str] | None = None,
    *,
    delimiter: str = ",",
    header: bool = True,
    engine: str = "auto",
) -> TableDataset:
    """A CSV file as a table, read by pyarrow or pandas, whichever is installed, else by Python. Texts that are all
    integers, numbers or truth values become those; an empty field of a number column is nan.

    >>> from mlcore import data
    >>> with open("t.csv", "w") as file: _ = file.write("x,name\\n1,a\\n2,b\\n")
    >>> data.read_csv("t.csv")[0]
    {'x': 1, 'name': 'a'}
    """
    if engine not in ENGINES:
        raise ArgumentError(f"read_csv: engine is {engine!r}", fix=f"use one of {', '.join(ENGINES)}")
    if len(delimiter) != 1:
        raise ArgumentError(f"read_csv: delimiter is {delimiter!r}", fix="use one character")
    if engine == "auto":
        engine = next((one for one in ("pyarrow", "pandas") if importlib.util.find_spec(one)), "python")
    with open(path, "rb") as file:  # a missing file says so itself
        if not file.read(1):
            raise FormatError(f"read_csv: {path} is empty")
    read: Callable[..., dict[str, Any]] = {
        "pyarrow": _csv_pyarrow,
        "pandas": _csv_pandas,
        "python": _csv_python,
    }[engine]
    try:
        found = read(path, delimiter, header)
    except MlcoreError:
        raise
    except (ValueError, csv.Error) as error:  # what all three raise derives from ValueError
        raise FormatError(f"read_csv: {path} cannot be read: {error}") from error
    return _chosen("read_csv", path, found, columns)


def _csv_pyarrow(path: PathLike, delimiter: str, header: bool) -> dict[str, Any]:
    module = importlib.import_module("pyarrow.csv")
    table = module.read_csv(
        path,
        read_options=module.ReadOptions(autogenerate_column_names=not header),
        parse_options=module.ParseOptions(delimiter=delimiter),
    )
    names = table.column_names if header else [str(i) for i in range(table.num_columns)]
    return dict(zip(names, map(_from_arrow, table.columns), strict=True))


def _csv_pandas(path: PathLike, delimiter: str, header: bool) -> dict[str, Any]:
    frame = importlib.import_module("pandas").read_csv(path, sep=delimiter, header=0 if header else None)
    return {str(name): frame[name].to_numpy() for name in frame.columns}


def _csv_python(path: PathLike, delimiter: str, header: bool) -> dict[str, Any]:
    with open(path, newline="", encoding="utf-8-sig") as file:
        rows = [row for row in csv.reader(file, delimiter=delimiter) if row]
    names = rows.pop(0) if header else [str(i) for i in range(len(rows[0]))]
    for number, row in enumerate(rows):
        if len(row) != len(names):
            raise FormatError(
                f"read_csv: {path}: row {number + 1} has {len(row)} fields, there are {len(names)} columns"
            )
    return {name: _parsed([row[i] for row in rows]) for i, name in enumerate(names)}


def _parsed(texts: list[str]) -> Array:
    if texts and all(one.lower() in ("true", "false") for one in texts):
        return np.asarray([one.lower() == "true" for one in texts])
    for convert in (int, lambda one: float(one) if one else float("nan")):
        try:
            return np.asarray([convert(one) for one in texts])
        except (ValueError, OverflowError):
            continue
    return np.asarray(texts, dtype=object)


def read_parquet(path: PathLike, columns: Sequence[str] | None = None) -> TableDataset:
    """A Parquet file (or a folder of them) as a table; needs pyarrow. `ParquetStream` reads one piece by piece.

    Only the columns that are asked for are read.
    """
    module = _arrow("pyarrow.parquet", "read_parquet")
    names = module.ParquetFile(path).schema_arrow.names if Path(path).is_file() else None
    if names is not None:
        _check_names("read_parquet", path, names, columns)
    table = _guarded("read_parquet", path, lambda: module.read_table(path, columns=columns))
    return TableDataset({name: _from_arrow(table[name]) for name in columns or table.column_names})


def read_arrow(path: PathLike, columns: Sequence[str] | None = None) -> TableDataset:
    """An Arrow file (IPC, also called Feather) as a table; needs pyarrow. The file is mapped, not read."""
    feather = _arrow("pyarrow.feather", "read_arrow")
    with open(path, "rb"):  # a missing file says so itself
        pass
    table = _guarded("read_arrow", path, lambda: feather.read_table(path, memory_map=True))
    return _chosen(
        "read_arrow", path, {name: _from_arrow(table[name]) for name in table.column_names}, columns
    )


class ParquetStream(IterableDataset[dict[str, Any]]):
    """The rows of Parquet files one after the other, read in pieces of `rows`: for files larger than memory.

    A loader can be resumed in the middle without reading what came before the piece. Needs pyarrow.
    """

    def __init__(self, *paths: PathLike, columns: Sequence[str] | None = None, rows: int = 4096) -> None:
        if not paths or rows < 1:
            raise ArgumentError(f"ParquetStream: {len(paths)} files, pieces of {rows} rows")
        self._module().ParquetFile  # noqa: B018 (says now that pyarrow is missing)
        self.paths, self.columns, self.rows = [Path(one) for one in paths], columns, rows
        self.sizes = [self._file(path).metadata.num_rows for path in self.paths]
        for path in self.paths:
            _check_names("ParquetStream", path, self._file(path).schema_arrow.names, columns)
        self.start = self.place = 0

    @staticmethod
    def _module() -> Any:
        return _arrow("pyarrow.parquet", "ParquetStream")

    def _file(self, path: Path) -> Any:
        return _guarded("ParquetStream", path, lambda: self._module().ParquetFile(path))

    def __len__(self) -> int:
        return int(sum(self.sizes))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        self.place, self.start, skip = self.start, 0, self.start
        for path, size in zip(self.paths, self.sizes, strict=True):
            if skip >= size:
                skip -= size
                continue
            yield from self._rows(path, skip)
            skip = 0

    def _rows(self, path: Path, skip: int) -> Iterator[dict[str, Any]]:
        file = self._file(path)
        groups: list[int] = []
        for i in range(file.metadata.num_row_groups):  # whole groups before the place are not read
            count = file.metadata.row_group(i).num_rows
            if not groups and skip >= count:
                skip -= count
            else:
                groups.append(i)
        for piece in file.iter_batches(self.rows, row_groups=groups, columns=self.columns):
            columns = {name: _from_arrow(piece[name]) for name in piece.schema.names}
            for i in range(min(skip, piece.num_rows), piece.num_rows):
                self.place += 1
                yield {name: _item(one[i]) for name, one in columns.items()}
            skip = max(0, skip - piece.num_rows)

    def state_dict(self) -> dict[str, int]:
        """How many rows were given."""
        return {"place": self.place}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Begin after that many rows."""
        self.start = int(state["place"])


# -- columns -----------------------------------------------------------------------------------------------------------


def _column(name: str, values: Any) -> Array:
    found = as_numpy(values)
    if not found.ndim:
        raise DataError(f"TableDataset: column {name!r} is a single value")
    return found.astype(object) if found.dtype.kind in "US" else found


def _item(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _collated(values: Array) -> Any:
    return values.tolist() if values.dtype.kind in "OMm" else dispatch.from_data(values)


def _from_arrow(column: Any) -> Array:
    found: Array = (
        column.to_numpy(zero_copy_only=False)
        if hasattr(column, "type") and not hasattr(column, "chunks")
        else column.to_numpy()
    )
    if found.dtype == object and len(found) and isinstance(found[0], np.ndarray):
        shapes = {one.shape for one in found if one is not None}
        return np.stack(found.tolist()) if len(shapes) == 1 else found  # lists of one length: a matrix
    return found


def _chosen(who: str, path: PathLike, found: dict[str, Any], columns: Sequence[str] | None) -> TableDataset:
    _check_names(who, path, list(found), columns)
    return TableDataset({name: found[name] for name in columns or found})


def _check_names(who: str, path: PathLike, known: Sequence[str], columns: Sequence[str] | None) -> None:
    for name in columns or ():
        if name not in known:
            raise DataError(
                f"{who}: {path} has no column {name!r}{did_you_mean(name, known)}", columns=", ".join(known)
            )


def _arrow(module: str, who: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise DataError(f"{who} needs pyarrow: {error}", fix="pip install pyarrow") from error


def _guarded(who: str, path: PathLike, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except FileNotFoundError:
        raise
    except (ValueError, OSError) as error:  # Arrow's own errors derive from these
        raise FormatError(f"{who}: {path} cannot be read: {error}") from error
