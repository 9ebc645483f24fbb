"""Damaged, hostile and unknown models: one clear error each, nothing read outside the folder, nothing allocated."""

from __future__ import annotations

import os
import tracemalloc

import mlcore_onnx
import numpy as np
import onnx
import pytest
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from mlcore.errors import ArgumentTypeError, FormatError, MlcoreError, UnsafeFileError, UnsupportedOpError

F = TensorProto.FLOAT


def value(name, kind=F, shape=None):
    return helper.make_tensor_value_info(name, kind, shape)


def model(nodes=(), stored=(), inputs=("x",), outputs=("y",), functions=(), ir=10, opset=17, **domains):
    graph = helper.make_graph(
        list(nodes), "g", [value(one) for one in inputs], [value(one) for one in outputs], list(stored)
    )
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(k, v) for k, v in domains.items())]
    return helper.make_model(graph, opset_imports=imports, functions=list(functions), ir_version=ir)


def node(op="Relu", inputs=("x",), outputs=("y",), **attributes):
    return helper.make_node(op, list(inputs), list(outputs), **attributes)


def tensor(name="w", dims=(2,), kind=F, **fields):
    return TensorProto(name=name, dims=dims, data_type=kind, **fields)


def function(name, *calls, domain="mine"):
    body = [helper.make_node(one, ["a"], ["b"], domain=domain) for one in calls]
    return helper.make_function(domain, name, ["a"], ["b"], body, [helper.make_opsetid(domain, 1)])


def deep(depth):
    """Graphs in one another, on one side only: a file that grows with the depth, not with its power."""
    leaf = helper.make_graph([node("Identity", ["x"], ["l"])], "l", [], [value("l")])
    inner = helper.make_graph([node("Identity", ["x"], ["o0"])], "g", [], [value("o0")])
    for i in range(1, depth):
        made = node("If", ["c"], [f"o{i}"], then_branch=leaf, else_branch=inner)
        inner = helper.make_graph([made], "g", [], [value(f"o{i}")])
    return model([node("If", ["c"], ["y"], then_branch=leaf, else_branch=inner)], inputs=("x", "c"))


def attribute_twice():
    made = node("LeakyRelu", alpha=0.1)
    made.attribute.append(helper.make_attribute("alpha", 0.2))
    return model([made])


def reference_outside():
    made = node("LeakyRelu")
    made.attribute.append(AttributeProto(name="alpha", type=AttributeProto.FLOAT, ref_attr_name="a"))
    return model([made])


def two_versions():
    made = model([node()])
    made.opset_import.append(helper.make_opsetid("", 18))
    return made


def external(**entries):
    made = tensor(data_location=TensorProto.EXTERNAL)
    for key, text in entries.items():
        made.external_data.add(key=key, value=text)
    return model([node("Add", ["x", "w"])], [made])


add = node("Add", ["x", "w"])
huge = 2**40

# name: (model, error, words that the message has)
CASES = {
    "a node that reads what is not there": (model([node(inputs=["nothing"])]), FormatError, "needs 'nothing'"),
    "nodes in a circle": (
        model([node("Add", ["x", "b"], ["a"]), node("Relu", ["a"], ["b"]), node("Relu", ["b"], ["y"])]),
        FormatError, "go in a circle"),
    "an output that nothing makes": (model([node(outputs=["z"])]), FormatError, "gives 'y'"),
    "a name made twice": (model([node(), node()]), FormatError, "which is made already"),
    "an input by the name of an output": (model([node(outputs=["x"])], outputs=("x",)), FormatError, "made already"),
    "an initializer twice": (
        model([add], [tensor(raw_data=bytes(8)), tensor(raw_data=bytes(8))]), FormatError, "there twice"),
    "an unknown operator": (model([node("Relux")]), UnsupportedOpError, "no such operator"),
    "an unknown domain": (
        model([node(domain="com.example")], **{"com.example": 1}), UnsupportedOpError, "'com.example'"),
    "a domain that is not imported": (model([node(domain="com.example")]), UnsupportedOpError, "does not import"),
    "an opset from the future": (model([node()], opset=99), UnsupportedOpError, "opset 99"),
    "an opset of old": (model([node("Add", ["x", "x"])], opset=1), UnsupportedOpError, "opset 1 "),
    "an opset below zero": (model([node()], opset=-3), UnsupportedOpError, "opset -3"),
    "an operator that is gone": (
        model([node("Upsample", ["x", "x"])], opset=11), UnsupportedOpError, "out in opset 10"),
    "an opset imported twice": (two_versions(), FormatError, "versions 17 and 18"),
    "an IR version from the future": (model([node()], ir=1000), FormatError, "IR version 1000"),
    "an IR version of old": (model([node()], ir=1), FormatError, "IR version 1"),
    "too many inputs": (model([node(inputs=["x", "x"])]), FormatError, "has 2 inputs"),
    "too few inputs": (model([node("Add", ["x"])]), FormatError, "has 1 inputs"),
    "an input left out": (model([node("Add", ["x", ""])]), FormatError, "leaves out its input 'B'"),
    "too many outputs": (model([node(outputs=["y", "z"])]), FormatError, "2 outputs"),
    "an attribute that is not known": (model([node(beta=1.0)]), FormatError, "an attribute 'beta'"),
    "an attribute of another type": (model([node("LeakyRelu", alpha="much")]), FormatError, "'alpha' of node 0"),
    "an attribute that is missing": (model([node("Concat", ["x"])]), FormatError, "no attribute 'axis'"),
    "an attribute twice": (attribute_twice(), FormatError, "'alpha' twice"),
    "an attribute of no function": (reference_outside(), FormatError, "refers to an attribute 'a'"),
    "a text that is no text": (
        model([node("Gelu", approximate=b"\xff\xfe")], opset=20), FormatError, "no UTF-8"),
    "a function that calls itself": (
        model([node("A", domain="mine")], functions=[function("A", "A")], mine=1), FormatError, "A -> A"),
    "functions that call each other": (
        model([node("A", domain="mine")], functions=[function("A", "B"), function("B", "A")], mine=1),
        FormatError, "A -> B -> A"),
    "functions in a long chain": (
        model([node("F0", domain="mine")], mine=1,
              functions=[function(f"F{i}", f"F{i + 1}") for i in range(200)]), FormatError, "deep and more"),
    "a function twice": (
        model([node("A", domain="mine")], functions=[function("A"), function("A")], mine=1), FormatError,
        "there twice"),
    "a function that makes nothing": (
        model([node("A", domain="mine")], functions=[function("A")], mine=1), FormatError, "gives 'b'"),
    "a negative size": (model([add], [tensor(dims=(-1,))]), FormatError, "the shape (-1)"),
    "a size beyond memory": (
        model([add], [tensor(dims=(huge,), raw_data=bytes(8))]), FormatError, "needs 4,398,046,511,104 bytes"),
    "sizes whose product overflows": (model([add], [tensor(dims=(huge, huge, huge))]), FormatError, "elements"),
    "hundreds of dimensions": (model([add], [tensor(dims=(1,) * 500)]), FormatError, "up to 64"),
    "fewer bytes than the shape says": (model([add], [tensor(raw_data=bytes(7))]), FormatError, "the file has 7"),
    "more numbers than the shape says": (model([add], [tensor(float_data=[1.0] * 3)]), FormatError, "the file has 3"),
    "numbers in another field": (model([add], [tensor(int64_data=[1, 2])]), FormatError, "values in float_data"),
    "texts as bytes": (
        model([add], [tensor(kind=TensorProto.STRING, raw_data=b"abcd")]), FormatError, "texts as raw bytes"),
    "a type that nobody knows": (model([add], [tensor(kind=99, raw_data=bytes(8))]), FormatError, "element type 99"),
    "a tensor without a type": (model([add], [tensor(kind=0)]), FormatError, "element type 0"),
    "a segment": (
        model([add], [tensor(raw_data=bytes(8), segment=TensorProto.Segment(begin=0, end=1))]),
        UnsupportedOpError, "one segment"),
    "a constant beyond memory": (
        model([node("Constant", [], ["y"], value=tensor(dims=(huge,), raw_data=bytes(4)))]), FormatError,
        "needs 4,398"),
    "graphs in one another": (deep(28), FormatError, "deep"),
    "external data without a folder": (external(location="w.bin"), FormatError, "without a folder"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_it_is_refused(name) -> None:
    bad, kind, words = CASES[name]
    with pytest.raises(kind) as found:
        mlcore_onnx.load(bad)
    assert words in str(found.value), str(found.value)
    assert len(str(found.value)) < 1500


@pytest.mark.parametrize("name", CASES)
def test_it_is_refused_as_a_file(name, tmp_path) -> None:
    path = tmp_path / "bad.onnx"
    path.write_bytes(CASES[name][0].SerializeToString())
    with pytest.raises(MlcoreError) as found:
        mlcore_onnx.load(path)
    assert "bad.onnx" in str(found.value)


@pytest.mark.parametrize(
    "data",
    [b"", b"\0" * 100, b"\xff" * 100, b"\x08\x0a", b"PK\x03\x04" + bytes(60), b"\x3a\xff\xff\xff\xff\x0f"],
)
def test_bytes_that_are_no_model(data, tmp_path) -> None:
    with pytest.raises(FormatError):
        mlcore_onnx.load(data)
    (tmp_path / "x.onnx").write_bytes(data)
    with pytest.raises(FormatError, match=r"x\.onnx"):
        mlcore_onnx.load(tmp_path / "x.onnx")


def test_places_that_are_no_file(tmp_path) -> None:
    for place in (tmp_path, tmp_path / "missing.onnx", "with\0null.onnx"):
        with pytest.raises(FormatError):
            mlcore_onnx.load(place)
    os.mkfifo(tmp_path / "pipe.onnx")
    with pytest.raises(FormatError, match="no file"):
        mlcore_onnx.load(tmp_path / "pipe.onnx")
    with pytest.raises(ArgumentTypeError, match="int is no model"):
        mlcore_onnx.load(7)


def test_every_byte_of_a_small_model() -> None:
    """Cut off anywhere, or with any byte changed: a model or one of our errors, never another's."""
    good = model([add], [tensor(raw_data=np.float32([1, 2]).tobytes())]).SerializeToString()
    kinds = {"cut": 0, "changed": 0, "loads": 0}
    rng = np.random.default_rng(0)
    for i in range(len(good)):
        changed = bytearray(good)
        changed[i] ^= int(rng.integers(1, 256))
        for what, data in (("cut", good[:i]), ("changed", bytes(changed))):
            try:
                mlcore_onnx.load(data)
                kinds["loads"] += 1
            except MlcoreError:
                kinds[what] += 1
    print(f"\n{2 * len(good)} damaged models: {kinds}")
    assert kinds["cut"] > len(good) // 2


def test_nothing_is_allocated_for_what_is_merely_claimed() -> None:
    bad = model([add], [tensor(dims=(2**30,), raw_data=bytes(8))])
    grow = [node("Constant", [], ["s"], value_ints=[2**20, 2**9]), node("ConstantOfShape", ["s"], ["y"])]
    expand = [node("Constant", [], ["s"], value_ints=[2**40]), node("Constant", [], ["v"], value_ints=[1])]
    expand.append(node("Expand", ["v", "s"], ["y"]))
    wide = [node("Constant", [], ["a"], value_ints=[1] * 1024), node("Constant", [], ["i"], value_ints=[1])]
    wide.append(node("Unsqueeze", ["a", "i"], ["b"]))
    wide += [node("Add", ["a", "b"], [f"y{i}"]) for i in range(100)]
    tracemalloc.start()
    with pytest.raises(FormatError):
        mlcore_onnx.load(bad)
    mlcore_onnx.load(model(grow))  # worked out when it is run, not when it is loaded
    doubling = [node("Concat", [f"v{i}"] * 2, [f"v{i + 1}"], axis=0) for i in range(60)]
    mlcore_onnx.load(model(doubling, [tensor("v0", (16,), raw_data=bytes(64))], outputs=("v60",)))
    mlcore_onnx.load(model(expand))
    mlcore_onnx.load(model(wide, outputs=[f"y{i}" for i in range(100)]))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6


def test_loading_takes_no_longer_than_the_file_is_long() -> None:
    """Names that all become the same one; functions whose attributes double at every level."""
    many = [tensor(chr(0x4E00 + i), raw_data=bytes(8)) for i in range(4000)]
    nodes = [node("Add", ["x" if i == 0 else f"h{i - 1}", one.name], [f"h{i}"]) for i, one in enumerate(many)]
    net = mlcore_onnx.load(model(nodes, many, outputs=("h3999",)))
    assert len(net.state_dict()) == 4000
    names = [f"q{i}" for i in range(30)]
    functions = []
    for level in range(30):
        calls = []
        for turn in (1, 2):
            call = node(f"F{level + 1}", ["a"], [f"b{turn}"], domain="mine", **{names[level]: turn})
            for other in names[:level]:
                call.attribute.append(
                    AttributeProto(name=other, type=AttributeProto.INT, ref_attr_name=other)
                )
            calls.append(call)
        calls.append(node("Add", ["b1", "b2"], ["b"]))
        imports = [helper.make_opsetid("mine", 1), helper.make_opsetid("", 17)]
        functions.append(helper.make_function("mine", f"F{level}", ["a"], ["b"], calls, imports, names))
    last = helper.make_function("mine", "F30", ["a"], ["b"], [node("Relu", ["a"], ["b"])], imports, names)
    with pytest.raises(FormatError, match="4096 sets of attributes"):
        mlcore_onnx.load(model([node("F0", domain="mine")], functions=[*functions, last], mine=1))


# -- data beside the model -----------------------------------------------------------------------------------------


def beside(folder, **entries):
    folder.mkdir(exist_ok=True)
    path = folder / "model.onnx"
    path.write_bytes(external(**entries).SerializeToString())
    return path


def test_external_data_in_the_folder(tmp_path) -> None:
    folder = tmp_path / "m"
    path = beside(folder, location="sub/w.bin", offset="4", length="8")
    (folder / "sub").mkdir()
    (folder / "sub/w.bin").write_bytes(np.float32([9, 1, 2]).tobytes())
    assert mlcore_onnx.load(path)(np.float32([1, 1])).tolist() == [2.0, 3.0]
    assert mlcore_onnx.load(path.read_bytes(), folder=folder)(np.float32([1, 1])).tolist() == [2.0, 3.0]
    made = model([add], [numpy_helper.from_array(np.float32([5, 6]), "w")])
    onnx.save(made, folder / "e.onnx", save_as_external_data=True, location="e.data", size_threshold=0)
    assert mlcore_onnx.load(folder / "e.onnx")(np.float32([1, 1])).tolist() == [6.0, 7.0]


@pytest.mark.parametrize(
    "location",
    [
        "../secret.bin",
        "/etc/passwd",
        "a/../../secret.bin",
        "C:\\secret.bin",
        "..\\secret.bin",
        "",
        "a\0b",
        ".",
    ],
)
def test_external_data_outside_the_folder(location, tmp_path) -> None:
    (tmp_path / "secret.bin").write_bytes(bytes(64))
    entries = {"location": location} if location else {}
    with pytest.raises((UnsafeFileError, FormatError)) as found:
        mlcore_onnx.load(beside(tmp_path / "m", **entries))
    assert "the initializer 'w'" in str(found.value)


def test_links_that_leave_the_folder(tmp_path) -> None:
    secret = tmp_path / "secret.bin"
    secret.write_bytes(bytes(8))
    folder = tmp_path / "m"
    path = beside(folder, location="w.bin")
    (folder / "w.bin").symlink_to(secret)
    with pytest.raises(UnsafeFileError, match="symbolic link"):
        mlcore_onnx.load(path)
    (folder / "w.bin").unlink()
    os.link(secret, folder / "w.bin")
    with pytest.raises(UnsafeFileError, match="hard link"):
        mlcore_onnx.load(path)
    (folder / "w.bin").unlink()
    os.mkfifo(folder / "w.bin")
    with pytest.raises(UnsafeFileError, match="no plain file"):
        mlcore_onnx.load(path)
    path = beside(folder, location="d/w.bin")
    (folder / "d").symlink_to(tmp_path)
    with pytest.raises(UnsafeFileError, match="symbolic link"):
        mlcore_onnx.load(path)


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"offset": "4"}, "lies at bytes 4 to 12"),
        ({"offset": "-4"}, "'-4'"),
        ({"offset": "99999999999999999999"}, "whole number"),
        ({"offset": "0x10"}, "whole number"),
        ({"length": "4"}, "it is said to have 4"),
        ({"offset": str(2**58)}, "lies at bytes"),
    ],
)
def test_external_data_that_is_not_there(entries, words, tmp_path) -> None:
    path = beside(tmp_path / "m", location="w.bin", **entries)
    (tmp_path / "m/w.bin").write_bytes(bytes(8))
    with pytest.raises(FormatError, match=words):
        mlcore_onnx.load(path)
