"""What is exported comes back: every operation and every layer, loaded and held against the original."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import mlcore_onnx
import numpy as np
from mlcore_onnx.export_reasons import WITHOUT

import mlcore as ml
from mlcore.errors import MlcoreError
from mlcore.ops import registry


def beside(name):
    """The tables of cases in another file of tests."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


operations, layers = beside("test_export_ops"), beside("test_export_layers")


def flat(made):
    return [np.asarray(one.detach()) for one in layers.flat(made) if one is not None]


def test_every_operation() -> None:
    compared, wrong = 0, []
    for op in registry.all_ops():
        if op.name in WITHOUT or op.name not in operations.OPS:
            continue
        for case in operations.all_cases(op):
            model, given = operations.written(case, 21)
            wanted = operations.wanted_of(case)
            for device in ("reference", "cpu"):
                try:
                    with ml.no_grad():
                        found = mlcore_onnx.load(model, device=device).run(given)
                    check(op, found, wanted, given)
                    compared += 1
                except (AssertionError, MlcoreError) as error:  # all that differ are named at the end
                    text = " ".join(str(error).split())[:250]
                    wrong.append(f"{case} on {device}: {type(error).__name__}: {text}")
    print(f"\noperations exported, and loaded on reference and cpu: {compared} cases compared")
    assert not wrong, f"{len(wrong)}:\n" + "\n".join(wrong[:60])
    assert compared > 4000


def check(op, found, wanted, given) -> None:
    for got, want in zip(map(np.asarray, found), wanted):
        assert (got.shape, got.dtype) == (want.shape, want.dtype)
        largest = max(operations.size_of(one) for one in (want, *given))
        atol = max(16, op.ulp) * operations.UNIT * largest
        np.testing.assert_allclose(got, want, rtol=operations.RTOL, atol=atol)


def test_every_layer() -> None:
    with ml.device("cpu"):
        _every_layer()


def _every_layer() -> None:
    compared, trained, wrong = 0, 0, []
    for number, (name, make, inputs) in enumerate(layers.CASES):
        ml.manual_seed(number)
        layer, given = make().eval(), layers.tensors(inputs)
        with ml.no_grad():
            wanted = flat(layer(*given))
        model = mlcore_onnx.export(layer, tuple(given), opset=17 + number % 5)
        try:
            back = mlcore_onnx.load(model, device="cpu")
            hosts = [np.asarray(one) for one in layers.flat(inputs)]
            with ml.no_grad():
                found = flat(tuple(back.run(hosts)))
            for got, want in zip(found, wanted, strict=True):
                layers.close(got, want, 1e-5)
            compared += 1
            trained += _same_gradients(layer, back, given, hosts)
        except (AssertionError, MlcoreError) as error:  # all that differ are named at the end
            wrong.append(f"{name}-{number}: {type(error).__name__}: {' '.join(str(error).split())[:250]}")
    print(f"\nlayers exported and loaded: {compared} compared, {trained} with their parameters' gradients")
    assert not wrong, f"{len(wrong)}:\n" + "\n".join(wrong[:60])
    assert compared == len(layers.CASES)
    assert trained > 60


def _same_gradients(layer, back, given, hosts) -> int:
    """Whether the parameters that both know by one name get the same gradients."""
    names = dict(layer.named_parameters())
    shared = [name for name, _ in back.named_parameters() if name in names]
    if not shared:
        return 0
    for one in (layers.flat(layer(*given)), back.run(hosts)):
        total = sum(part.sum() for part in one if part is not None and part.dtype.kind == "f")
        total.backward()
    held = dict(back.named_parameters())
    for name in shared:
        if names[name].grad is not None:
            layers.close(np.asarray(held[name].grad), np.asarray(names[name].grad), 1e-4)
    return 1
