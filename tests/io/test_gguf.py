"""GGUF files beside the reader of ggml's own package, blocks of every type beside its decoder, and damaged files."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import mlcore as ml
from mlcore import assets
from mlcore.errors import ArgumentError, ArgumentTypeError, DTypeError, FormatError
from mlcore.io import open_weights
from mlcore.io.gguf.blocks import QUANTS, dequantise
from mlcore.io.gguf.header import PLAIN, TYPES

FROZEN = Path(__file__).with_name("gguf_blocks.npz")
DECODED = [name for name, quant in QUANTS.items() if quant.decode]
# The float16 numbers of a block, which tests keep finite; everything else may have any bits.
HALVES = {
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82], "Q3_K": [108],
    "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "Q8_K": [],
}  # fmt: skip


def blocks(name: str, count: int, seed: int = 0) -> np.ndarray[Any, Any]:
    """Random blocks of a type, little-endian."""
    rng = np.random.default_rng([seed, *name.encode()])
    raw = rng.integers(0, 256, (count, QUANTS[name].nbytes), np.uint8)
    for at in HALVES[name]:
        raw[:, at : at + 2] = rng.standard_normal((count, 1)).astype("<f2").view(np.uint8)
    if name == "Q8_K":
        raw[:, :4] = rng.standard_normal((count, 1)).astype("<f4").view(np.uint8)
    return raw


def decoded(name: str, raw: np.ndarray[Any, Any], order: str = "<") -> np.ndarray[Any, Any]:
    out = np.empty(len(raw) * QUANTS[name].elements, np.float32)
    dequantise(raw.reshape(-1), QUANTS[name], order, out)
    return out


def swapped(name: str, raw: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The same blocks as a big-endian machine has them."""
    made = raw.copy()
    for at in HALVES[name]:
        made[:, at : at + 2] = raw[:, at : at + 2][:, ::-1]
    if name == "Q8_K":
        made[:, :4] = raw[:, :4][:, ::-1]
    return made


@pytest.mark.parametrize("name", [name for name in DECODED if name != "Q8_K"])
def test_blocks_are_decoded_to_the_bit(name: str) -> None:
    gguf = pytest.importorskip("gguf", reason="ggml's package is the oracle")
    raw = blocks(name, 20_000)
    want = gguf.dequantize(raw, gguf.GGMLQuantizationType[name]).reshape(-1)
    got = decoded(name, raw)
    assert got.tobytes() == want.tobytes()
    assert decoded(name, swapped(name, raw), ">").tobytes() == want.tobytes()
    print(f"{name}: {got.size} weights compared, twice")


@pytest.mark.parametrize("name", DECODED)
def test_blocks_are_decoded_as_ever(name: str) -> None:
    """The same without ggml's package: its results for a few blocks lie beside this file."""
    with np.load(FROZEN) as frozen:
        want = frozen[name]
    assert decoded(name, blocks(name, 1)).tobytes() == want.tobytes()
    assert decoded(name, swapped(name, blocks(name, 1)), ">").tobytes() == want.tobytes()


def test_q8_k_by_its_definition() -> None:
    for raw in blocks("Q8_K", 50):
        scale = np.float32(struct.unpack("<f", raw[:4].tobytes())[0])
        want = [scale * np.float32(weight) for weight in struct.unpack("<256b", raw[4:260].tobytes())]
        assert decoded("Q8_K", raw[None]).tolist() == want


# ---------------------------------------------------------------- files


def text(value: str, order: str = "<") -> bytes:
    raw = value.encode()
    return struct.pack(f"{order}Q", len(raw)) + raw


def file(
    tensors: list[tuple[str, tuple[int, ...], int, bytes]] = (),
    pairs: list[bytes] = (),
    *,
    order: str = "<",
    version: int = 3,
    alignment: int = 32,
    counts: tuple[int, int] | None = None,
    offsets: dict[str, int] | None = None,
) -> bytes:
    """A GGUF file, written without our writer; shapes as NumPy has them."""
    tensor_count, pair_count = counts or (len(tensors), len(pairs))
    head = b"GGUF" + struct.pack(f"{order}I2Q", version, tensor_count, pair_count) + b"".join(pairs)
    data = b""
    for name, shape, kind, raw in tensors:
        offset = (offsets or {}).get(name, len(data))
        head += text(name, order) + struct.pack(
            f"{order}I{len(shape)}QIQ", len(shape), *shape[::-1], kind, offset
        )
        data += raw + b"\0" * (-len(raw) % alignment)
    return head + b"\0" * (-len(head) % alignment) + data


def pair(key: str, kind: int, value: bytes, order: str = "<") -> bytes:
    return text(key, order) + struct.pack(f"{order}I", kind) + value


CODES = {name: code for code, name in TYPES.items()}


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("order", ["<", ">"])
def test_both_byte_orders_of_both_versions(tmp_path: Path, order: str, version: int) -> None:
    rng = np.random.default_rng(0)
    tensors, want = [], {}
    for kind, dtype in PLAIN.items():
        bits = rng.integers(0, 256, 3 * 5 * dtype.itemsize, np.uint8)
        want[kind] = bits.view(dtype).reshape(3, 5)
        raw = bits if order == "<" else bits.reshape(-1, dtype.itemsize)[:, ::-1]
        tensors.append((kind, (3, 5), CODES[kind], raw.tobytes()))
    for name in DECODED:
        raw = blocks(name, 6)
        want[name] = decoded(name, raw).reshape(2, -1)
        tensors.append(
            (name, want[name].shape, CODES[name], (raw if order == "<" else swapped(name, raw)).tobytes())
        )
    numbers = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 10: "Q", 11: "q", 12: "d"}
    pairs = [
        pair(f"n{kind}", kind, struct.pack(f"{order}{code}", 100), order) for kind, code in numbers.items()
    ]
    pairs += [
        pair(f"list{kind}", 9, struct.pack(f"{order}IQ3{code}", kind, 3, 1, 2, 3), order)
        for kind, code in numbers.items()
    ]
    words = struct.pack(f"{order}IQ", 8, 3) + text("é", order) + text("", order) + text("b", order)
    pairs += [
        pair("words", 9, words, order),
        pair("word", 8, text("x", order), order),
        pair("true", 7, b"\1", order),
    ]
    truths = struct.pack(f"{order}IQ", 7, 2) + b"\1\0"
    pairs += [
        pair("truths", 9, truths, order),
        pair("nested", 9, struct.pack(f"{order}IQ", 9, 2) + words + truths, order),
    ]
    (tmp_path / "x.gguf").write_bytes(file(tensors, pairs, order=order, version=version))
    with open_weights(tmp_path / "x.gguf") as weights:
        assert list(weights) == list(want)
        for name, array in want.items():
            for got in (weights.read(name), weights.view(name)):
                assert got.dtype == array.dtype
                assert got.shape == array.shape
                assert got.tobytes() == array.tobytes(), name
        notes = weights.metadata
        assert [notes[f"n{kind}"] for kind in numbers] == [100] * 10
        assert all(notes[f"list{kind}"].tolist() == [1, 2, 3] for kind in numbers)
        assert notes["list6"].dtype == np.float32
        assert (notes["words"], notes["word"], notes["true"]) == (["é", "", "b"], "x", True)
        assert notes["truths"].tolist() == [True, False]
        assert notes["nested"][0] == ["é", "", "b"]
    print(f"{2 * len(want)} tensors compared")


def test_what_is_written_is_read(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    arrays = {
        name: rng.integers(0, 256, 24 * dtype.itemsize, np.uint8).view(dtype).reshape(2, 3, 4)
        for name, dtype in PLAIN.items()
    }
    arrays |= {
        "scalar": np.float32(2).reshape(()),
        "empty": np.zeros((0, 3), np.float16),
        "turned": np.ones((3, 2), np.float64).T,
    }
    notes = {
        "general.architecture": "llama", "count": 3, "negative": -1, "share": 0.5, "yes": True, "words": ["a", "é"],
        "numbers": [1, 2], "scores": np.array([1, 2], np.float32), "flags": [True, False], "none": [],
    }  # fmt: skip
    ml.save(arrays, tmp_path / "x.gguf", notes)
    with open_weights(tmp_path / "x.gguf") as weights:
        assert weights.format == "gguf"
        for name, array in arrays.items():
            assert weights.read(name).dtype == array.dtype
            assert weights.read(name).shape == array.shape
            assert weights.read(name).tobytes() == np.ascontiguousarray(array).tobytes()
        for key, value in notes.items():
            got = weights.metadata[key]
            assert (got.tolist() if isinstance(got, np.ndarray) else got) == (
                value.tolist() if isinstance(value, np.ndarray) else value
            )
    again = ml.load(tmp_path / "x.gguf")
    assert again["BF16"].dtype is ml.bfloat16


def test_ggmls_package_reads_what_we_write(tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf", reason="ggml's package is the oracle")
    rng = np.random.default_rng(2)
    arrays = {
        "w": rng.standard_normal((3, 8)).astype(np.float32), "half": rng.standard_normal(5).astype(np.float16),
        "wide": rng.standard_normal((2, 2, 3)), "ids": rng.integers(0, 9, 4), "brain": np.ones(4, ml_dtypes.bfloat16),
    }  # fmt: skip
    ml.save(arrays, tmp_path / "x.gguf", {"general.architecture": "llama", "words": ["a", "é"], "count": 3})
    reader = gguf.GGUFReader(tmp_path / "x.gguf")
    assert reader.fields["words"].contents() == ["a", "é"]
    assert reader.fields["count"].contents() == 3
    for tensor in reader.tensors:
        want = arrays[tensor.name]
        assert tensor.shape.tolist() == list(want.shape[::-1])
        assert tensor.data.tobytes() == want.tobytes()
    assert len(reader.tensors) == len(arrays)


@pytest.mark.parametrize(
    ("arrays", "notes", "error", "words"),
    [
        ({"x": np.ones(2, np.complex64)}, {}, DTypeError, "'x' has dtype complex64"),
        ({"x": np.ones((1,) * 5)}, {}, ArgumentError, "5 dimensions"),
        ({}, {"a": object()}, ArgumentTypeError, "'a' is a object"),
        ({}, {"a": [[1], [2]]}, ArgumentTypeError, "'a' is a list"),
        ({}, {"general.alignment": 7}, ArgumentError, "alignment is 7"),
    ],
    ids=str,
)
def test_what_cannot_be_written(
    tmp_path: Path, arrays: Any, notes: Any, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        ml.save(arrays, tmp_path / "x.gguf", notes)
    assert not list(tmp_path.iterdir())


def test_types_that_are_not_decoded_are_refused_by_name(tmp_path: Path) -> None:
    tensors = [("good", (2,), CODES["F32"], b"\0" * 8)]
    others = [name for name in TYPES.values() if name not in PLAIN and name not in DECODED]
    assert {"IQ2_XXS", "TQ1_0", "MXFP4", "Q8_1", "NVFP4"} <= set(others)
    for name in others:
        quant = QUANTS.get(name)
        tensors.append(
            (name, (quant.elements if quant else 64,), CODES[name], b"\0" * (quant.nbytes if quant else 36))
        )
    tensors.append(("newer", (1,), 99, b"\0" * 64))
    (tmp_path / "x.gguf").write_bytes(file(tensors))
    with open_weights(tmp_path / "x.gguf") as weights:
        assert weights.read("good").tolist() == [0, 0]
        assert weights.info("IQ2_XXS").dtype == "IQ2_XXS"
        for name in others:
            with pytest.raises(
                DTypeError, match=rf"(?s)tensor '{name}' is quantised as {name},.*known:.*Q6_K"
            ):
                weights.read(name)
        with pytest.raises(DTypeError, match="tensor 'newer' is quantised as type 99"):
            weights.view("newer")


GOOD = [("a", (2, 4), 0, b"\1" * 32), ("b", (32,), 2, b"\2" * 18)]
DAMAGED: dict[str, tuple[bytes, str]] = {
    "version 1": (file(version=1), "version 1"),
    "version 9": (file(version=9), "version 9"),
    "only its magic": (b"GGUF", "no GGUF file"),
    "no counts": (file()[:20], "truncated at the number of keys"),
    "a million million keys": (file(counts=(0, 10**12)), "announces 1000000000000 keys"),
    "more tensors than bytes": (file(counts=(90_000, 0)), "announces 90000 tensors"),
    "a tensor that is not there": (file(GOOD, counts=(3, 0)), "tensor '' at byte|truncated"),
    "a key without end": (file(pairs=[struct.pack("<Q", 2**60) + b"x" * 64]), "a text of 1152921504606846976 bytes"),
    "a key that is no text": (file(pairs=[struct.pack("<Q", 2) + b"\xff\xfe" + b"\0" * 60]), "which is no text"),
    "a key twice": (file(pairs=[pair("k", 0, b"\1")] * 2), "the key 'k' stands twice"),
    "a value of no type": (file(pairs=[pair("k", 13, b"\1" * 32)]), "value of type 13"),
    "an endless list": (file(pairs=[pair("k", 9, struct.pack("<IQ", 0, 2**62))]), "announces 4611686018427387904"),
    "an endless list of texts": (file(pairs=[pair("k", 9, struct.pack("<IQ", 8, 2**61))]), "announces"),
    "a list's text without end": (
        file(pairs=[pair("k", 9, struct.pack("<IQQ", 8, 1, 2**63))]), "text 0 of 'k' reaches beyond"),
    "a list of no type": (file(pairs=[pair("k", 9, struct.pack("<IQ", 77, 2) + b"\0" * 40)]), "value of type 77"),
    "lists in lists in lists": (file(pairs=[pair("k", 9, struct.pack("<IQ", 9, 1) * 8)]), "value of type 9"),
    "five dimensions": (file([("a", (1,) * 5, 0, b"\0" * 32)]), "has 5 dimensions"),
    "a shape that overflows": (file([("a", (2**40, 2**40), 0, b"")]), "which nothing can hold"),
    "a shape of nothing that overflows": (file([("a", (2**63, 0, 2**63), 0, b"")]), "which nothing can hold"),
    "a tensor beyond the end": (file([("a", (2**20,), 0, b"\0" * 32)]), "tensor 'a' lies at bytes"),
    "a tensor twice": (file([GOOD[0], GOOD[0]]), "'a' stands twice"),
    "tensors in each other": (file(GOOD, offsets={"b": 0}), "tensor '.' at byte .* overlaps '.'"),
    "an offset beyond the end": (file(GOOD, offsets={"b": 2**62}), "tensor 'b' lies at bytes"),
    "an odd offset": (file(GOOD, offsets={"b": 33}), "not at a multiple of 32"),
    "half a block": (file([("b", (33,), 2, b"\2" * 64)]), "rows of 33, no multiple of 32"),
    "an odd alignment": (file(pairs=[pair("general.alignment", 4, struct.pack("<I", 33))]), "alignment is 33"),
    "no alignment": (file(pairs=[pair("general.alignment", 4, struct.pack("<I", 0))]), "alignment is 0"),
    "a text for alignment": (file(pairs=[pair("general.alignment", 8, text("32"))]), "alignment is '32'"),
}  # fmt: skip


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_files(tmp_path: Path, case: str) -> None:
    content, words = DAMAGED[case]
    (tmp_path / "x.gguf").write_bytes(content)
    with pytest.raises(FormatError, match=words) as caught:
        ml.load(tmp_path / "x.gguf")
    assert "x.gguf" in str(caught.value)


def test_every_truncation_is_noticed(tmp_path: Path) -> None:
    content = file(
        GOOD, [pair("k", 9, struct.pack("<IQ", 8, 2) + text("ab") + text("c")), pair("n", 4, b"\1\0\0\0")]
    )
    end = len(content) - 14  # what fills the last tensor up to the alignment may be missing
    for size in range(end):
        (tmp_path / "x.gguf").write_bytes(content[:size])
        with pytest.raises(FormatError):
            ml.load(tmp_path / "x.gguf")
    (tmp_path / "x.gguf").write_bytes(content[:end])
    assert len(ml.load(tmp_path / "x.gguf")) == 2


@pytest.mark.assets
def test_smollm2_as_ggmls_package_reads_it() -> None:
    gguf = pytest.importorskip("gguf", reason="ggml's package is the oracle")
    if not assets.is_here("smollm2"):
        pytest.skip("smollm2 is not here: mlcore assets get smollm2")
    path = assets.get("smollm2")
    compared = 0
    with open_weights(path) as weights:
        assert len(weights.metadata["tokenizer.ggml.tokens"]) == 49_152
        reader = gguf.GGUFReader(path)
        assert len(weights) == len(reader.tensors) == 272
        assert weights.metadata["tokenizer.ggml.merges"] == reader.fields["tokenizer.ggml.merges"].contents()
        for tensor in reader.tensors:
            want = gguf.dequantize(tensor.data, tensor.tensor_type)
            got = weights.read(tensor.name)
            assert got.shape == want.shape
            assert got.tobytes() == want.tobytes()
            compared += got.size
    print(f"{compared} weights compared")
