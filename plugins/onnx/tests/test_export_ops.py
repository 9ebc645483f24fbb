"""Every operation of the registry, written as ONNX from the samples of its declaration, and run by ONNX Runtime."""

import os
import warnings

import numpy as np
import pytest
from mlcore_onnx import export
from mlcore_onnx.export_reasons import WITHOUT
from onnx.reference import ReferenceEvaluator

from mlcore import dispatch, dtypes
from mlcore.backends import detect
from mlcore.errors import MlcoreError, UnsupportedOpError
from mlcore.inputs import from_data
from mlcore.ops import registry
from mlcore.testing.compare import host
from mlcore.testing.inputs import call, cases, outputs

DTYPES = ("float32", "int64", "bool")
# ONNX Runtime rounds otherwise (sums in another order, its own tanh): the error is held against the largest number,
# by as many units in the last place as the declaration allows, and at least 16.
RTOL, UNIT = 2e-5, 2.0**-23


def runtime():
    if "MLCORE_LEG" not in os.environ:
        pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    import onnxruntime

    return onnxruntime


def session_of(model):
    ort = runtime()
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def written(case, opset):
    """The case's call as an ONNX model, whose inputs are those that are given."""
    given = [one for one in case.arrays if one is not None]

    def model(*tensors):
        left = iter(tensors)
        inputs = [None if one is None else next(left) for one in case.arrays]
        if not case.op.variadic:
            inputs += [None] * (case.op.n_inputs - len(inputs))
        made = dispatch.apply(case.op, tuple(inputs), dict(case.params))
        return made[0] if case.op.name in FIRST else made

    reference = detect.resolve("reference")
    return export(model, tuple(from_data(one, None, reference) for one in given), opset=opset), given


def all_cases(op):
    """Cases of the dtypes that ONNX Runtime computes with."""
    if not op.inputs:
        yield from cases(op, None, quick=True)
        return
    chosen = [dtypes.as_dtype(name) for name in DTYPES]
    for dtype in [one for one in chosen if one in op.accepts] or sorted(op.accepts, key=str)[:1]:
        yield from (case for case in cases(op, dtype, quick=True) if not unknown(case))


def unknown(case):
    """ONNX Runtime hands no bfloat16 to Python; ONNX has no complex numbers."""
    return str(case.params.get("dtype")) in ("bfloat16", "complex64", "complex128")


def size_of(array):
    """The largest number in an array, of 1 and those that are finite."""
    return float(np.abs(array[np.isfinite(array)]).max(initial=1.0)) if array.dtype.kind == "f" else 1.0


def wanted_of(case):
    reference = detect.resolve("reference")
    tensors = [None if one is None else from_data(one, None, reference) for one in case.arrays]
    with np.errstate(all="ignore"):
        return [host(one) for one in outputs(call(case.op, tensors, case.params, reference))]


# ONNX's recurrent layers keep no gates; these are for the gradient only.
FIRST = ("lstm_layer", "gru_layer")
OPS = [op.name for op in registry.all_ops() if op.family != "transfer"]  # a graph runs on one device
OPS_WITH_A_FORM = [registry.get(name) for name in OPS if name not in WITHOUT]
COUNT = {"ops": 0, "cases": 0, "values": 0}


def named(model, given):
    return {one.name: np.asarray(x) for one, x in zip(model.graph.input, given)}


def compare(case, found, given) -> None:
    for i, (got, want) in enumerate(zip(found, wanted_of(case))):
        got = np.asarray(got)
        assert got.shape == want.shape, f"{case}: output {i}"
        assert got.dtype == want.dtype, f"{case}: output {i}"
        largest = max(size_of(one) for one in (want, *given))
        close = {
            "rtol": RTOL,
            "atol": max(16, case.op.ulp) * UNIT * largest,
            "err_msg": f"{case}: output {i}",
        }
        np.testing.assert_allclose(got, want, **close)
        COUNT["values"] += got.size


@pytest.mark.parametrize("name", OPS)
def test_onnx_runtime_gives_what_the_reference_gives(name) -> None:
    op = registry.get(name)
    if name in WITHOUT:
        case = next(all_cases(op))
        with pytest.raises((UnsupportedOpError, MlcoreError)):
            written(case, 21)
        return
    runtime()
    compared = 0
    for case in all_cases(op):
        model, given = written(case, 21)
        compare(case, session_of(model).run(None, named(model, given)), given)
        compared += 1
    assert compared
    COUNT["ops"] += 1
    COUNT["cases"] += compared


@pytest.mark.parametrize("opset", [17, 18, 20])
def test_older_opsets_give_the_same(opset) -> None:
    """Every operation's first case of float32, or of what it takes."""
    for op in OPS_WITH_A_FORM:
        case = next(all_cases(op))
        if (
            op.name.startswith("bitwise")
            and "shift" not in op.name
            and opset < 18
            and case.dtype is not dtypes.bool_
        ):
            with pytest.raises(UnsupportedOpError, match="opset 18"):
                written(case, opset)
            continue
        model, given = written(case, opset)
        assert model.opset_import[0].version == opset
        runtime()
        compare(case, session_of(model).run(None, named(model, given)), given)


@pytest.mark.parametrize("name", [op.name for op in OPS_WITH_A_FORM])
def test_the_reference_evaluator_gives_the_same(name) -> None:
    """onnx's own evaluator in NumPy: another opinion on what a model says, and one that is always there."""
    op = registry.get(name)
    case = next(all_cases(op))
    model, given = written(case, 20)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = ReferenceEvaluator(model).run(None, named(model, given))
    compare(case, found, given)


def test_what_was_compared() -> None:
    print(f"\noperations exported: {COUNT}, without a form in ONNX: {', '.join(WITHOUT)}")
