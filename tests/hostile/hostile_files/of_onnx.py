"""Hostile ONNX models: paths that leave the folder, graphs without an end, sizes that are not there."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from onnx import TensorProto, helper

from hostile_files.cases import CASES, Case, put
from mlcore.errors import MlcoreError

FLOAT = TensorProto.FLOAT
BOTH = "FormatError|UnsafeFileError"


def value(name: str, shape: Any = (2,)) -> Any:
    return helper.make_tensor_value_info(name, FLOAT, shape)


def model(nodes: Any, stored: Any = (), *, opset: int = 17, domain: str = "", ir: int = 8, functions: Any = (),
          outputs: Any = ("y",)) -> Any:  # fmt: skip
    graph = helper.make_graph(
        list(nodes), "g", [value("x")], [value(one, None) for one in outputs], list(stored)
    )
    imports = [helper.make_opsetid(domain, opset)] + ([helper.make_opsetid("f", 1)] if functions else [])
    made = helper.make_model(graph, opset_imports=imports, functions=list(functions))
    made.ir_version = ir
    return made


def node(kind: str, *inputs: str, to: str = "y", **attributes: Any) -> Any:
    return helper.make_node(kind, list(inputs), [to], **attributes)


ADD = node("Add", "x", "w")


def tensor(**fields: Any) -> Any:
    made = TensorProto(name="w", data_type=FLOAT, dims=[2], raw_data=bytes(8))
    for name, content in fields.items():
        if isinstance(content, (list, tuple)):
            del getattr(made, name)[:]
            getattr(made, name).extend(content)
        else:
            setattr(made, name, content)
    return made


def beside(**entries: str) -> Any:
    """A tensor whose bytes lie in another file."""
    made = tensor()
    made.ClearField("raw_data")
    made.data_location = TensorProto.EXTERNAL
    for key, text in entries.items():
        made.external_data.add(key=key, value=text)
    return made


def case(name: str, says: str, why: str, build: Callable[[Path], bytes], error: str = "FormatError") -> None:
    def write(folder: Path) -> Path:
        return put(folder, "net.onnx", build(folder))

    CASES.append(Case("onnx", name, write, says, why, error))


def models(table: dict[str, tuple[Any, str]], why: str, error: str = "FormatError") -> None:
    for name, (made, says) in table.items():
        data = made if isinstance(made, bytes) else made.SerializeToString()
        case(name, says, why, lambda folder, data=data: data, error)


GOOD = model([ADD], [tensor()])
BYTES = GOOD.SerializeToString()

# -- data in other files -------------------------------------------------------------------------------------------

PLACES = "CVE-2022-25882, 2024-27318, 2026-27489: patched three times in four years"
for _name, _place in {
    "up": "../secret", "up_twice": "a/../../secret", "up_with_backslashes": "..\\secret", "absolute": "/etc/passwd",
    "a_drive": "C:\\secret", "a_share": "\\\\host\\secret", "nothing": "", "a_null": "w\0.bin", "itself": ".",
}.items():  # fmt: skip
    made = model([ADD], [beside(location=_place)])
    case(f"data_in_{_name}", "'w'", PLACES,
         lambda folder, made=made: (put(folder.parent, "secret", bytes(8)), made.SerializeToString())[1],
             BOTH)  # fmt: skip


def _linked(how: str) -> Callable[[Path], bytes]:
    def build(folder: Path) -> bytes:
        secret = put(folder.parent, "secret", bytes(8))
        place = folder / "w.bin"
        if how == "symbolic":
            os.symlink(secret, place)
        elif how == "hard":
            os.link(secret, place)
        elif how == "folder":
            os.symlink(folder.parent, folder / "d")
            return model([ADD], [beside(location="d/secret")]).SerializeToString()
        elif how == "pipe":
            os.mkfifo(place)
        else:
            place.mkdir()
        return model([ADD], [beside(location="w.bin")]).SerializeToString()

    return build


for _how, _says in {"symbolic": "symbolic link", "hard": "hard link", "folder": "symbolic link", "pipe": "plain file",
                    "directory": "w.bin"}.items():  # fmt: skip
    case(
        f"data_behind_a_{_how}",
        _says,
        "CVE-2026-34446 (hard link), CVE-2026-34447 (symbolic link)",
        _linked(_how),
        BOTH,
    )


def _entries(**entries: str) -> Callable[[Path], bytes]:
    def build(folder: Path) -> bytes:
        put(folder, "w.bin", bytes(8))
        return model([ADD], [beside(location="w.bin", **entries)]).SerializeToString()

    return build


for _name, _given in {
    "a_petabyte": {"length": str(1 << 50)}, "a_length_of_text": {"length": "8; rm"},
        "a_negative_offset": {"offset": "-8"},
    "an_offset_beyond": {"offset": str(1 << 40)}, "an_offset_of_5000_digits": {"offset": "9" * 5000},
    "an_offset_in_other_digits": {"offset": "\u0664"}, "half_of_it": {"length": "4"},
}.items():  # fmt: skip
    case(f"data_of_{_name}", "'w'", "GHSA-538c-55jv-c5g9: a length of petabytes", _entries(**_given), BOTH)

# -- graphs --------------------------------------------------------------------------------------------------------


def function(name: str, *nodes: Any) -> Any:
    return helper.make_function(
        "f", name, ["x"], ["y"], list(nodes), [helper.make_opsetid("", 17), helper.make_opsetid("f", 1)]
    )


models({
    "function_that_calls_itself": (model([node("loop", "x", domain="f")], functions=[function("loop", node("loop",
        "x", domain="f"))]),
                                   "loop"),
    "functions_that_call_each_other": (model([node("a", "x", domain="f")], functions=[
        function("a", node("b", "x", domain="f")), function("b", node("a", "x", domain="f"))]), "a|b"),
    "graph_that_needs_itself": (model([node("Add", "x", "z"), node("Relu", "y", to="z")]), "'z'"),
    "node_that_needs_itself": (model([node("Add", "x", "y")]), "'y'"),
    "value_made_twice": (model([node("Relu", "x"), node("Abs", "x")]), "'y'"),
    "output_that_nobody_makes": (model([node("Relu", "x", to="z")]), "'y'"),
    "input_that_nobody_makes": (model([node("Relu", "q")]), "'q'"),
}, "GHSA-7w46-vvrh-m8q5: functions in a circle overflow the stack", "FormatError|UnsupportedOpError")  # fmt: skip

models({
    "operator_nobody_knows": (model([node("Frobnicate", "x")]), "Frobnicate"),
    "operator_of_a_foreign_domain": (model([node("Run", "x", domain="com.evil")], domain="com.evil"), "com.evil|opset"),
    "opset_999": (model([node("Relu", "x")], opset=999), "999"),
    "opset_0": (model([node("Relu", "x")], opset=0), "0"),
    "opset_less_than_0": (model([node("Relu", "x")], opset=-5), "-5|opset"),
    "ir_of_the_future": (model([node("Relu", "x")], ir=9999), "9999"),
    "attribute_that_is_unknown": (model([node("Relu", "x", __class__=3)]), "__class__"),
}, "unknown opsets, domains and operators: ONNX's models name any", "UnsupportedOpError|FormatError")  # fmt: skip

models({
    "cut": (BYTES[: len(BYTES) // 2], "damaged|no graph|no ONNX"),
    "empty": (b"", "no graph"),
    "of_zeros": (bytes(500), "damaged|no graph"),
    "with_a_name_that_is_no_text": (model([node("Relu", "x", to="yyyy")], outputs=("yyyy",)).SerializeToString()
                                    .replace(b"yyyy", b"y\xf9yy"), "name is text|yy"),
    "of_another_format": (b"PK\x03\x04" + bytes(100), "damaged|no graph"),
    "of_nested_messages": (b"".join(b"\x3a\xff\xff\xff\x7f" for _ in range(2000)), "damaged"),
    "with_a_length_of_gigabytes": (b"\x3a\xf0\xff\xff\xff\x0f", "damaged"),
}, "protobuf messages that are cut, or say more than there is")  # fmt: skip

models({
    "tensor_of_a_negative_size": (model([ADD], [tensor(dims=[-2])]), "'w'.*shape"),
    "tensor_of_a_product_that_wraps": (model([ADD], [tensor(dims=[1 << 32, 1 << 32])]), "'w'.*shape"),
    "tensor_of_a_product_that_wraps_to_its_size": (model([ADD], [tensor(dims=[(1 << 62) + 1, 4])]), "'w'.*shape"),
    "tensor_of_petabytes": (model([ADD], [tensor(dims=[1 << 47])]), "'w'"),
    "tensor_of_100_dimensions": (model([ADD], [tensor(dims=[1] * 100)]), "'w'.*shape"),
    "tensor_of_fewer_bytes": (model([ADD], [tensor(raw_data=bytes(7))]), "'w'"),
    "tensor_of_more_bytes": (model([ADD], [tensor(raw_data=bytes(9))]), "'w'"),
    "tensor_of_an_unknown_type": (model([ADD], [tensor(data_type=999)]), "'w'.*999"),
    "tensor_of_no_type": (model([ADD], [tensor(data_type=0)]), "'w'"),
    "tensor_twice": (model([ADD], [tensor(), tensor()]), "'w'"),
}, "declared sizes against the bytes there are", "FormatError|UnsupportedOpError")  # fmt: skip


def warm_up(folder: Path) -> None:
    """What loading imports is imported."""
    import mlcore_onnx

    mlcore_onnx.load(put(folder, "good.onnx", BYTES))
    wanted = ("opset_999", "cut", "operator_nobody_knows")
    for one in [one for one in CASES if one.reader == "onnx" and one.name in wanted]:
        place = folder / one.name
        place.mkdir()
        with contextlib.suppress(MlcoreError):
            mlcore_onnx.load(one.build(place))
