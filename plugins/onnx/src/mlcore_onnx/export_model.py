"""export: a model's captured graph as an ONNX file."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import onnx
from onnx import ModelProto, ValueInfoProto, helper

import mlcore
from mlcore.compile.capture import capture
from mlcore.compile.graph import Graph, Value
from mlcore.compile.sizes import Size
from mlcore.errors import ArgumentError, UnsupportedOpError
from mlcore_onnx import export_elementwise, export_layers, export_shape
from mlcore_onnx.export_build import (
    HANDLERS,
    IR_VERSIONS,
    Builder,
    array_of,
    check_dtype,
    onnx_type,
    refuse,
    tensor_proto,
)
from mlcore_onnx.export_reasons import WITHOUT

__all__ = ["export"]

_TABLES: Final = (export_elementwise, export_layers, export_shape)  # importing them declares the handlers
_OPTIONAL: Final = onnx.defs.OpSchema.FormalParameterOption.Optional
_LARGE: Final = 2**31 - 2**20  # bytes: a file of protobuf holds less than 2 GiB


def export(
    model: Any,
    args: Any,
    path: str | os.PathLike[str] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    *,
    dynamic_shapes: Mapping[str, Any] | None = None,
    opset: int = 20,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    external_data: bool | None = None,
    dtype: Any = None,
) -> ModelProto:
    """Write what `model(*args, **kwargs)` does, in evaluation mode, to an ONNX file; returns what was written.

    `args` are tensors, or shapes that stand for tensors of `dtype`: nothing is computed. `dynamic_shapes` names the
    dimensions that may have another size when the file is run, for each input: {"x": {0: "batch"}}. Inputs are named
    after the arguments of `forward`, parameters after their keys in state_dict; `input_names` and `output_names` give
    other names. `opset` is 17 to 21. Parameters beyond 2 GiB, or with `external_data=True`, go to a file beside it, of
    the same name with ".data" behind. The model is checked by ONNX's own checker, shapes included. `path` None writes
    nothing.

    Raises UnsupportedOpError, with the operation, module and line, for what has no form in ONNX, and where values of
    an input decide what happens.

    >>> from mlcore import nn
    >>> made = export(nn.Sequential(nn.Linear(4, 8), nn.GELU()), (3, 4), dynamic_shapes={"input": {0: "n"}})
    >>> [node.op_type for node in made.graph.node], [one.name for one in made.graph.initializer]
    (['Gemm', 'Gelu'], ['0.weight', '0.bias'])
    """
    if opset not in IR_VERSIONS:
        raise ArgumentError(
            f"export: opset {opset}", fix=f"choose one from {min(IR_VERSIONS)} to {max(IR_VERSIONS)}"
        )

    def keep(op: Any, inputs: tuple[Any, ...], params: dict[str, Any]) -> bool:
        found = HANDLERS.get(op.name)
        return found is not None and found.accepts(opset, inputs, params)

    graph = capture(model, args, kwargs, dynamic=dynamic_shapes, keep=keep, dtype=dtype)
    for node in graph.nodes:
        if not keep(node.op, node.inputs, node.params):
            raise refuse(node, opset, WITHOUT.get(node.op.name, ""))
    made = _written(graph, opset, input_names, output_names, (type(model).__doc__ or "").strip())
    size = sum(len(one.raw_data) for one in made.graph.initializer)
    outside = size > _LARGE if external_data is None else external_data
    if outside and path is None:
        raise ArgumentError(
            f"export: {size:,} bytes of parameters need a file beside the model's", fix="give a path"
        )
    if path is not None:
        _save(made, Path(path), outside)
    if not outside:
        _check(made)
    return made


def _check(model: ModelProto | str) -> None:
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise UnsupportedOpError(
            "export: ONNX's checker refuses the model",
            cause=" ".join(str(error).split())[:600],
            fix="use another dtype or opset: an operation may take fewer dtypes in an older one",
        ) from error


def _save(model: ModelProto, path: Path, outside: bool) -> None:
    """Write under another name first: a file that is there is a whole one."""
    part = path.with_name(path.name + ".part")
    try:
        if outside:
            data = path.name + ".data"
            (path.parent / data).unlink(missing_ok=True)
            onnx.save_model(
                model, os.fspath(part), save_as_external_data=True, location=data, size_threshold=1024
            )
            os.chmod(path.parent / data, stat.S_IMODE(part.stat().st_mode))  # onnx lets nobody else read it
            _check(os.fspath(part))
        else:
            onnx.save_model(model, os.fspath(part))
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


# -- the graph ----------


def _written(
    graph: Graph, opset: int, input_names: Sequence[str] | None, output_names: Sequence[str] | None, doc: str
) -> ModelProto:
    b = Builder(graph, opset)
    inputs, outputs = graph.inputs, graph.outputs
    given = list(input_names or ())
    if input_names is not None and len(given) != len(inputs):
        raise ArgumentError(
            f"export: {len(given)} input names",
            fix=f"give {len(inputs)}: for {', '.join(v.name for v in inputs)}",
        )
    for i, value in enumerate(inputs):
        _enter(b, value, given[i] if given else value.name)
    for value in graph.held:
        if value.size is None:
            name = _enter(b, value, value.name)
            b.constants[name] = tensor_proto(name, array_of(value), value.dtype)
    for value in graph.held:
        if value.size is not None:
            number = b.cast(b.make("Squeeze", [b.size(value.size), b.ints(0)]), value.dtype)
            b.names[id(value)] = b.make("Reciprocal", [number]) if value.inverse else number
    for node in graph.nodes:
        b.add(node)
    names = _name_outputs(b, outputs, output_names)
    _drop_unused(b, names)
    wide = {
        name: value for value in [*inputs, *_results(graph)] if (name := b.names.get(id(value))) is not None
    }
    made = helper.make_graph(
        b.nodes,
        graph.name,
        [_info(b.names[id(value)], value) for value in inputs],
        [_info(name, value) for name, (_, value) in zip(names, outputs, strict=True)],
        list(b.constants.values()),
        doc_string=doc,
        value_info=[
            _info(one, wide[one])
            for node in b.nodes
            for one in node.output
            if one in wide and one not in names
        ],
    )
    model = helper.make_model(
        made,
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=IR_VERSIONS[opset],
        producer_name="mlcore",
        producer_version=mlcore.__version__,
    )
    if doc:
        model.doc_string = doc
    return model


def _enter(b: Builder, value: Value, name: str) -> str:
    check_dtype(value.dtype, f"{value.kind} {value.name}")
    b.names[id(value)] = made = b.fresh(name)
    return made


def _results(graph: Graph) -> list[Value]:
    return [value for node in graph.nodes for value in node.outputs]


def _name_outputs(b: Builder, outputs: list[tuple[str, Value]], wanted: Sequence[str] | None) -> list[str]:
    """Give what comes out its names; what is no node's result, or comes out twice, goes through an Identity."""
    if wanted is not None and len(wanted) != len(outputs):
        raise ArgumentError(f"export: {len(wanted)} output names", fix=f"give {len(outputs)}")
    made_here = {name for node in b.nodes for name in node.output}
    found: list[str] = []
    for i, (path, value) in enumerate(outputs):
        name: str = wanted[i] if wanted is not None else f"output.{path}" if path else "output"
        name = b.fresh(name)
        old = b.names.get(id(value))
        if old is None:
            raise UnsupportedOpError(
                f"export: ONNX's form of {value.node.op.name} does not give its output {value.name}",
                called=value.node.place,
            )
        if old in made_here and old not in found:
            for node in b.nodes:
                for names in (node.input, node.output):
                    for k, one in enumerate(names):
                        if one == old:
                            names[k] = name
            for key, one in b.names.items():
                if one == old:
                    b.names[key] = name
        else:
            b.nodes.append(helper.make_node("Identity", [old], [name], name=name))
        found.append(name)
    return found


def _drop_unused(b: Builder, outputs: list[str]) -> None:
    """Leave out what nobody reads: nodes, constants, further outputs."""
    wanted, kept = set(outputs), []
    for node in reversed(b.nodes):
        if any(name in wanted for name in node.output):
            declared = onnx.defs.get_schema(node.op_type, b.opset).outputs
            for i, name in enumerate(node.output):
                if name not in wanted and declared[min(i, len(declared) - 1)].option == _OPTIONAL:
                    node.output[i] = ""
            while not node.output[-1]:
                node.output.pop()
            kept.append(node)
            wanted.update(node.input)
    b.nodes = kept[::-1]
    b.constants = {name: one for name, one in b.constants.items() if name in wanted}


def _info(name: str, value: Value) -> ValueInfoProto:
    check_dtype(value.dtype, value.name)
    shape = [str(one) if isinstance(one, Size) else one for one in value.dims]
    made: ValueInfoProto = helper.make_tensor_value_info(name, onnx_type(value.dtype), shape)
    return made
