"""What is fuzzed: each reader with the bytes of a file (or of several), beginning with good files and the corpus.

A target writes the bytes where its reader finds them, and reads all there is to read. Whatever is wrong with the file,
an error of mlcore's that names it is right; everything else is a crash.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io as bytes_io
import os
import struct
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import mlcore as ml
from mlcore import io

HOSTILE = Path(__file__).resolve().parents[2] / "tests/hostile"
sys.path.insert(0, str(HOSTILE))

from hostile_files import corpus, guard, of_torch  # noqa: E402
from hostile_files.cases import CASES  # noqa: E402

MOST_TENSORS = 40
SLOW = (
    20.0 if "asan" in os.environ.get("LD_PRELOAD", "") else 2.0
)  # seconds; watched code is several times slower
SPLIT = b"\n--8<--\n"
LONGEST = 4096  # bytes of an input


@dataclass(frozen=True)
class Target:
    """`put(folder, data)` writes an input and gives the path to read; `seeds(folder)` makes good inputs."""

    name: str
    about: str
    put: Callable[[Path, bytes], Path]
    seeds: Callable[[Path], Iterator[bytes]]
    words: tuple[bytes, ...] = ()
    read: Callable[[Path], None] = lambda path: everything(path)


def everything(path: Path) -> None:
    """All of a file's tensors, mapped and read, and its structure."""
    with io.open_weights(path) as weights:
        for name in list(weights)[:MOST_TENSORS]:
            weights.view(name)
            weights.read(name)
        weights.tree()
        repr(weights)


def write(path: Path, data: bytes) -> Path:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.write(handle, data)
    os.close(handle)
    return path


def run(target: Target, folder: Path, data: bytes) -> None:
    """One input: raises whatever is a crash."""
    path = target.put(folder, data)
    told: ml.errors.MlcoreError | None = None
    try:
        with guard.guarded(folder, memory=False) as seen:
            target.read(path)
    except ml.errors.MlcoreError as error:
        told = error
    except guard.Violation as violation:  # atheris takes an Exception for a crash, and this for the end
        raise AssertionError(f"forbidden: {violation}") from violation
    if seen.violations:
        raise AssertionError(f"forbidden: {seen.violations[:3]}")
    if seen.seconds > SLOW:  # of processor time: libFuzzer's own limit counts what others take, too
        raise AssertionError(f"slow: {seen.seconds:.1f} s for {len(data)} bytes")
    if told is not None and str(folder) not in str(told):
        raise AssertionError(f"the file is not named: {str(told)[:300]}") from told


# -- a file as it is ---------------------------------------------------------------------------------------------


def single(suffix: str) -> Callable[[Path, bytes], Path]:
    return lambda folder, data: write(folder / f"input{suffix}", data)


ARRAYS: dict[str, Any] = {
    "w": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array([True, False]), "s": np.float64(3.5),
    "e": np.zeros((0, 2), np.int16),
}  # fmt: skip


def saved(name: str, suffix: str) -> Callable[[Path], Iterator[bytes]]:
    """What `save` writes in a format, and the corpus' small files of the same reader."""

    def seeds(folder: Path) -> Iterator[bytes]:
        plain = {
            key: value for key, value in ARRAYS.items() if value.dtype.kind != "b"
        }  # what all formats have
        for arrays in (ARRAYS if name == "safetensors" else plain, {"w": ARRAYS["w"]}, {}):
            place = folder / f"seed{suffix}"
            ml.save(arrays, place, format=name)
            yield place.read_bytes()
        yield from hostile(folder, name)

    return seeds


def hostile(folder: Path, reader: str) -> Iterator[bytes]:
    for number, case in enumerate(one for one in CASES if one.reader == reader):
        place = folder / f"{reader}-{number}"
        place.mkdir()
        path = case.build(place)
        if path.is_file() and path.stat().st_size <= LONGEST:
            yield path.read_bytes()


TARGETS: dict[str, Target] = {}


def target(one: Target) -> None:
    TARGETS[one.name] = one


target(Target(
    "safetensors", "safetensors files", single(".safetensors"), saved("safetensors", ".safetensors"),
    (b'"dtype"', b'"shape"', b'"data_offsets"', b'"__metadata__"', b"F32", b"BOOL", b"F8_E4M3", b"F4", b"F6_E2M3",
        b"[0,",
     b"9223372036854775807", b"-1", b"NaN", b"1e999", b"\\ud800"),
))  # fmt: skip


def put_header(folder: Path, data: bytes) -> Path:
    """The header alone is fuzzed: the length before it fits, and 24 bytes follow."""
    return write(folder / "input.safetensors", struct.pack("<Q", len(data)) + data + bytes(24))


def headers(folder: Path) -> Iterator[bytes]:
    for data in saved("safetensors", ".safetensors")(folder):
        length = int.from_bytes(data[:8], "little")
        if length == len(data[8 : 8 + length]):
            yield data[8 : 8 + length]


target(
    Target("safetensors_header", "headers of such files", put_header, headers, TARGETS["safetensors"].words)
)


# -- folders -------------------------------------------------------------------------------------------------------


def put_folder(folder: Path, data: bytes) -> Path:
    parts = data.split(SPLIT, 2)
    place = folder / "model"
    place.mkdir(exist_ok=True)
    names = ("model.safetensors.index.json", "config.json", "m1.safetensors")
    for name, part in zip(names, parts, strict=False):
        write(place / name, part)
    for name in names[len(parts) :]:
        (place / name).unlink(missing_ok=True)
    return place


def seeds_of_folders(folder: Path) -> Iterator[bytes]:
    file = folder / "m1.safetensors"
    ml.save({"w": ARRAYS["w"]}, file)
    weights = file.read_bytes()
    for index in (b'{"weight_map": {"w": "m1.safetensors"}}', b'{"metadata": {"total_size": 24}, "weight_map": {}}',
                  b'{"weight_map": {"w": "../m1.safetensors"}}'):  # fmt: skip
        for config in (b"{}", b'{"architectures": ["A"], "hidden_size": 4, "eps": 1e-5, "x": [null, true]}'):
            yield SPLIT.join([index, config, weights])


target(Target(
    "folder", "Hugging Face folders: config.json, index, weights", put_folder, seeds_of_folders,
    (SPLIT, b'"weight_map"', b'"metadata"', b"m1.safetensors", b"..", b"/", b"\\u0000", b"NaN", b"config.json"),
))  # fmt: skip


# -- checkpoints ---------------------------------------------------------------------------------------------------


def put_checkpoint(folder: Path, data: bytes) -> Path:
    """The manifest's content, given the hash that belongs to it, and the tensors' file."""
    content, _, tensors = data.partition(SPLIT)
    place = folder / "checkpoint"
    place.mkdir(exist_ok=True)
    digest = hashlib.sha256(content).hexdigest().encode()
    frame = b'{"format": "mlcore checkpoint", "sha256": "' + digest + b'",\n"content": ' + content + b"}\n"
    write(place / "manifest.json", frame)
    write(place / "tensors.safetensors", tensors)
    return place


def seeds_of_checkpoints(folder: Path) -> Iterator[bytes]:
    states: tuple[dict[str, Any], ...] = (
        {"model": {"w": ml.ones((2,))}}, {"a": [ml.asarray([1j, 2.0], dtype="complex128"), None, 2.5, "x", (1,
            True)]}, {},
    )  # fmt: skip
    for number, parts in enumerate(states):
        place = io.save_checkpoint(folder / str(number), step=3, metric=0.5, rng=False, **parts)
        content = (place / "manifest.json").read_bytes().partition(b'"content": ')[2][:-2]
        yield content + SPLIT + (place / "tensors.safetensors").read_bytes()


target(Target(
    "checkpoint", "mlcore's checkpoints, under a right hash", put_checkpoint, seeds_of_checkpoints,
    (SPLIT, b'"version": 2', b'"tensors"', b'"sha256"', b'"header"', b'"state"', b'"dtype": "C128"', b'"$', b"null",
        b"Infinity"),
))  # fmt: skip

# -- PyTorch's -----------------------------------------------------------------------------------------------------


def put_pickle(folder: Path, data: bytes) -> Path:
    """The pickle alone is fuzzed: what is around it fits."""
    return write(folder / "input.pt", of_torch.archive(data))


def pickles(folder: Path) -> Iterator[bytes]:
    """Pickles of good checkpoints."""
    trees: tuple[Any, ...] = (
        {"w": np.arange(16, dtype=np.float32).reshape(4, 4)}, {"a": [1, 2.5, "x", None, True, (1, 2)], "big": 1 << 70},
        {"state": {0: {"exp_avg": np.ones(16, np.float32)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}, [],
    )  # fmt: skip
    for number, tree in enumerate(trees):
        path = folder / f"tree{number}.pt"
        ml.save(tree, path, format="pytorch")
        with zipfile.ZipFile(path) as zipped:
            yield zipped.read("archive/data.pkl")


def zips(folder: Path) -> Iterator[bytes]:
    for pickle in pickles(folder):
        yield of_torch.archive(pickle, ("byteorder", b"little"))
        yield of_torch.archive(pickle, compressed=True)
    yield from hostile(folder, "pytorch")


def legacies(folder: Path) -> Iterator[bytes]:
    """The container before PyTorch 1.6."""
    one, square = of_torch.tensor(), of_torch.tensor(of_torch.numbers(4, 4), of_torch.numbers(4, 1))
    for body in (of_torch.entry(one), of_torch.entry(square), b"](" + one + square + b"e"):
        yield of_torch.old(body)
    yield of_torch.old(of_torch.entry(b"K\x01"), b"\x80\x02].")


GLOBALS = tuple(of_torch.g(*name.rsplit(".", 1)) for name in (
    "os.system", "builtins.eval", "collections.OrderedDict", "torch._utils._rebuild_tensor_v2", "torch.FloatStorage",
    "torch.float32", "torch._utils._rebuild_parameter", "torch.storage.UntypedStorage", "torch.Size", "_codecs.encode",
    "builtins.set", "builtins.bytearray", "torch.device", "torch._utils._rebuild_tensor_v3", "builtins.complex",
    "torch._tensor._rebuild_from_type_v2", "torch._utils._rebuild_sparse_tensor", "torch.serialization._get_layout",
))  # fmt: skip
OPCODES = (b"\x80\x02", b"\x80\x04\x95", b"(", b"R", b"Q", b"b", b"\x81", b"\x92", b"}", b"]", b"t", b"u", b"e",
           b"\x8c", b"X", b"h\x00", b"q\x00", b"\x94", b"\x8a\xff", b"\x8b", b"i", b"o", b"\x82\x01", b"P0\n", b"0",
           b"2", b".")  # fmt: skip

if "pytorch" in {one.name for one in io.formats.core_formats()}:
    target(Target("torch_zip", "PyTorch's zip archives", single(".pt"), zips,
                  (b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07", b"archive/data.pkl",
                   b"data/0")))  # fmt: skip
    target(
        Target("torch_pickle", "pickles inside of such an archive", put_pickle, pickles, GLOBALS + OPCODES)
    )
    target(Target("torch_legacy", "PyTorch's files before 1.6", single(".pt"), legacies, GLOBALS + OPCODES))


# -- the others, as far as they are there -------------------------------------------------------------------------


def put_npz(folder: Path, data: bytes) -> Path:
    """An .npy inside of an archive that fits."""
    held = bytes_io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_STORED) as zipped:
        zipped.writestr(zipfile.ZipInfo("w.npy"), data)
    return write(folder / "input.npz", held.getvalue())


def npys(folder: Path) -> Iterator[bytes]:
    arrays = (*ARRAYS.values(), np.asfortranarray(np.arange(6.0).reshape(2, 3)), np.arange(3).astype(">i4"))
    for array in arrays:
        for version in ((1, 0), (2, 0), (3, 0)):
            held = bytes_io.BytesIO()
            np.lib.format.write_array(held, np.asanyarray(array), version=version)
            yield held.getvalue()


def npzs(folder: Path) -> Iterator[bytes]:
    for save in (np.savez, np.savez_compressed):
        held = bytes_io.BytesIO()
        save(held, **ARRAYS)
        yield held.getvalue()
        held = bytes_io.BytesIO()
        save(held, w=ARRAYS["w"])
        yield held.getvalue()
    yield from hostile(folder, "npz")


NPY = (b"\x93NUMPY\x01\x00", b"'descr': ", b"'<f4'", b"'|O'", b"'fortran_order': True", b"'shape': (2, 3), ", b"(",
       b",)", b"[('a', '<i4')]", b"__import__('os')", b"-1", b"9" * 19)  # fmt: skip

for _name, _suffix, _put, _seeds in (
    ("npy", ".npy", single(".npy"), npys),
    ("npz", ".npz", single(".npz"), npzs),
    ("npy_in_npz", ".npz", put_npz, npys),
):
    if any(_suffix in one.suffixes for one in io.formats.core_formats()):
        target(Target(_name, f"NumPy's {_suffix} files", _put, _seeds, NPY))

if "gguf" in {one.name for one in io.formats.core_formats()}:
    target(Target("gguf", "GGUF files", single(".gguf"), saved("gguf", ".gguf"), (
        b"GGUF\x03\x00\x00\x00", b"general.alignment", b"general.architecture", struct.pack("<Q", 1 << 60),
        struct.pack("<I", 9), struct.pack("<I", 8), struct.pack("<I", 0xFFFFFFFF), bytes(32),
    )))  # fmt: skip


def put_model(folder: Path, data: bytes) -> Path:
    """A model, and a file beside it that it may take its tensors from."""
    write(folder / "w.bin", bytes(64))
    return write(folder / "input.onnx", data)


def seeds_of_models(folder: Path) -> Iterator[bytes]:
    from hostile_files import of_onnx

    made = of_onnx.model([of_onnx.ADD], [of_onnx.tensor()])
    yield made.SerializeToString()
    yield of_onnx.model([of_onnx.ADD], [of_onnx.beside(location="w.bin", length="8")]).SerializeToString()
    chain = [of_onnx.node("Gemm", "x", "w", to="a", alpha=0.5), of_onnx.node("Reshape", "a", "s", to="b"),
             of_onnx.node("Softmax", "b", axis=-1)]  # fmt: skip
    yield of_onnx.model(chain, [of_onnx.tensor()]).SerializeToString()
    called = of_onnx.function("twice", of_onnx.node("Add", "x", "x"))
    yield of_onnx.model([of_onnx.node("twice", "x", domain="f")], functions=[called]).SerializeToString()
    yield from hostile(folder, "onnx")


def read_model(path: Path) -> None:
    import mlcore_onnx

    repr(mlcore_onnx.load(path))


if importlib.util.find_spec("mlcore_onnx") and importlib.util.find_spec("onnx"):
    target(Target(
        "onnx", "ONNX models (mlcore-onnx)", put_model, seeds_of_models,
        (b"location", b"offset", b"length", b"w.bin", b"../w.bin", b"Add", b"Loop", b"If", b"Constant", b"Cast",
            b"Reshape"),
        read_model,
    ))  # fmt: skip


def folder_for(name: str) -> Path:
    """Where inputs are written: in memory where the system has such a place."""
    shm = Path("/dev/shm")
    where = shm if shm.is_dir() and os.access(shm, os.W_OK) else None
    return Path(tempfile.mkdtemp(prefix=f"mlcore-fuzz-{name}-", dir=where))


def warm_up() -> None:
    with tempfile.TemporaryDirectory() as folder:
        corpus.warm_up(Path(folder))
        if "onnx" in TARGETS:
            from hostile_files import of_onnx

            (Path(folder) / "onnx").mkdir()
            of_onnx.warm_up(Path(folder) / "onnx")
