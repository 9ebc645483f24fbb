"""What JAX does in its own way: 64 bits, compilation, tracing, memory, devices, forks."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import mlcore as ml
from mlcore import table
from mlcore.errors import DeviceLostError, OutOfMemoryError
from mlcore.ops import registry

jax = pytest.importorskip("jax") if "MLCORE_LEG" not in os.environ else __import__("jax")


def python(code: str, **environment: str) -> str:
    made = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, "MLCORE_DEVICE": "jax", "MLCORE_FALLBACK": "error", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    return made.stdout.strip()


class Compilations:
    """Counts what XLA compiles."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, event: str, seconds: float, **_: Any) -> None:
        self.count += event == "/jax/core/compile/backend_compile_duration"


@pytest.fixture(scope="module")
def compilations() -> Compilations:
    made = Compilations()
    jax.monitoring.register_event_duration_secs_listener(made)
    return made


@pytest.fixture
def device() -> Any:
    with ml.device("jax") as device:
        yield device


# -- 64 bits ---------------------------------------------------------------------------------------------------


def test_64_bits_here_and_not_in_the_program_around() -> None:
    import jax.numpy as jnp

    x = ml.asarray(np.arange(3) / 7, device="jax")
    assert (x @ x).dtype is ml.float64
    assert np.asarray(x * 3).tolist() == (np.arange(3) / 7 * 3).tolist()
    assert ml.asarray([2**40], device="jax").tolist() == [2**40]
    assert jax.config.jax_enable_x64 is False
    assert jnp.asarray(np.ones(2)).dtype == "float32"  # as in any program of JAX's


# -- compiling -------------------------------------------------------------------------------------------------


def test_a_signature_is_compiled_once(device: Any, compilations: Compilations) -> None:
    x = ml.random.normal((5, 37))
    ml.nn.functional.softmax(x, dim=-1)
    before = compilations.count
    for _ in range(5):
        ml.nn.functional.softmax(x, dim=-1)
    assert compilations.count == before
    ml.nn.functional.softmax(ml.asarray(np.ones((5, 38), np.float32)), dim=-1)
    assert compilations.count - before == 1, "a composition is one kernel"


def test_values_that_change_with_each_call_are_not_compiled_in(
    device: Any, compilations: Compilations
) -> None:
    x = ml.ones((64, 3))
    draws = [lambda i: ml.random.uniform((7, 5)), lambda i: ml.full((7,), float(i)), lambda i: x[i : i + 4]]
    for draw in draws:
        draw(1)
        before = compilations.count
        for i in range(2, 8):
            draw(i)
        assert compilations.count == before


def test_parameters_that_only_look_alike_are_told_apart(device: Any) -> None:
    assert np.signbit(np.asarray(ml.full((2,), -0.0))).all()
    assert not np.signbit(np.asarray(ml.full((2,), 0.0))).any()
    x = ml.asarray([[1.0, 2.0], [3.0, 4.0]])
    assert ml.sum(x, axis=0, keepdims=True).shape == (1, 2)
    assert ml.sum(x, axis=0, keepdims=False).shape == (2,)


def test_every_operation_runs_on_the_device(device: Any) -> None:
    ways = table.coverage(device, (op for op in registry.all_ops() if op.rule is not None and not op.host))
    counts: dict[str, int] = {}
    for found in ways.values():
        for way in found.values():
            counts[way] = counts.get(way, 0) + 1
    print(counts)
    assert counts.get(table.HOST, 0) == 0
    assert counts[table.NATIVE] > 700


def test_what_looks_at_values_runs_step_by_step(device: Any) -> None:
    x = ml.asarray([[0, 3], [4, 0]])
    for _ in range(2):
        assert [one.tolist() for one in ml.nonzero(x)] == [[0, 1], [1, 0]]


def test_a_constant_made_while_tracing_is_a_constant(device: Any) -> None:
    """The core keeps the scalars of a body: a tracer among them would break every later call."""
    x = ml.asarray(np.linspace(-2, 2, 11).astype(np.float32))
    first = ml.nn.functional.gelu(x)
    second = ml.nn.functional.gelu(ml.asarray(np.linspace(-2, 2, 13).astype(np.float32)))
    kept = [one.array for known in device.constants.values() for one in known.values()]
    assert kept
    assert not any(isinstance(one, jax.core.Tracer) for one in kept)
    assert first.shape == (11,)
    assert second.shape == (13,)


# -- gradients, threads ----------------------------------------------------------------------------------------


def test_gradients_of_any_order(device: Any) -> None:
    x = ml.asarray([0.3, -0.7], dtype=ml.float64, requires_grad=True)

    def slope(v: Any) -> Any:
        return ml.grad(lambda w: ml.nn.functional.silu(w).sum())(v).sum()

    found = ml.grad(slope)(x)
    s = 1 / (1 + np.exp(-np.asarray(x.detach())))
    wanted = s * (1 - s) * (2 + np.asarray(x.detach()) * (1 - 2 * s))
    np.testing.assert_allclose(np.asarray(found), wanted, rtol=1e-12)


# -- the device ------------------------------------------------------------------------------------------------


def test_memory_is_bounded_where_nothing_is_counted(device: Any) -> None:
    stats = device.backend.memory_stats()
    assert stats.limit is not None
    with pytest.raises(OutOfMemoryError, match="cannot allocate"):
        ml.zeros((stats.limit,))
    assert ml.ones((2,)).tolist() == [1, 1]


def test_errors_of_xla_are_told_as_ours(device: Any) -> None:
    explain = device.backend.explain
    full = jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 17179869184 bytes.")
    assert isinstance(explain(full), OutOfMemoryError)
    assert "17179869184" in str(explain(full))
    assert isinstance(explain(jax.errors.JaxRuntimeError("UNAVAILABLE: TPU halted")), DeviceLostError)
    assert explain(ValueError("something else")) is None


def test_synchronize_waits_for_what_is_queued(device: Any) -> None:
    x = ml.random.normal((600, 600))
    y = x @ x @ x @ x
    device.synchronize()
    assert y.array.is_ready()


def test_several_devices() -> None:
    code = (
        "import mlcore as ml\n"
        "x, y = ml.ones((3,), device='jax:0'), ml.arange(3, device='jax:1')\n"
        "print([len(t.array.devices()) for t in (x, y)], x.array.devices() != y.array.devices())\n"
        "z = ml.random.uniform((3,), device='jax:1') + y.to(ml.float32)\n"
        "print(z.array.devices() == y.array.devices(), x.to('jax:1').array.devices() == y.array.devices())\n"
        "try: x + y.to(ml.float32)\n"
        "except ml.errors.DeviceError as error: print('jax' in str(error), 'jax:1' in str(error))\n"
        "try: ml.ones((2,), device='jax:2')\n"
        "except ml.errors.DeviceError as error: print('jax:2' in str(error) or '2' in str(error))\n"
    )
    said = python(code, JAX_NUM_CPU_DEVICES="2").split("\n")
    assert said == ["[1, 1] True", "True True", "True True", "True"]


def test_a_loader_with_processes_beside_jax() -> None:
    """JAX warns of forks; workers of a loader do not use the device, and warnings are errors here."""
    code = (
        "import numpy as np, mlcore as ml\n"
        "from mlcore.data import DataLoader, TensorDataset\n"
        "if __name__ == '__main__':\n"
        "    x = ml.ones((2,)) + 1\n"
        "    data = TensorDataset(np.arange(40, dtype=np.float32))\n"
        "    loader = DataLoader(data, batch_size=10, num_workers=2)\n"
        "    print(sum(float(batch[0].sum().item()) for batch in loader))\n"
    )
    assert python(code) == "780.0"


def losses(where: str) -> list[float]:
    """Ten steps of a small recurrent network that tells sequences apart."""
    with ml.device(where):
        ml.manual_seed(3)
        layer, head = ml.nn.LSTM(3, 8, batch_first=True), ml.nn.Linear(8, 2)
        optimizer = ml.optim.AdamW([*layer.parameters(), *head.parameters()], lr=0.02)
        x = ml.random.normal((12, 6, 3))
        y = ml.astype(ml.sum(x, axis=(1, 2)) > 0, ml.int64)
        found = []
        for _ in range(10):
            optimizer.zero_grad()
            loss = ml.nn.functional.cross_entropy(head(layer(x)[0][:, -1]), y)
            loss.backward()
            optimizer.step()
            found.append(loss.item())
        return found


def test_an_lstm_learns_as_on_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLCORE_FALLBACK", "error")
    ours, theirs = losses("jax"), losses("reference")
    np.testing.assert_allclose(ours, theirs, rtol=2e-4)
    assert ours[-1] < ours[0]
