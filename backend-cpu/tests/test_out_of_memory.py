"""Every allocation of a training step fails once: an error that says so, nothing lost, nothing half done."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from cpu_helpers import kernel

import mlcore as ml
import mlcore_cpu
from mlcore import nn, optim
from mlcore.errors import OutOfMemoryError
from mlcore.nn import functional
from mlcore_cpu.loader import kernels as K

MANY = 10**9


@pytest.fixture(autouse=True)
def _cpu() -> Iterator[None]:
    with ml.device("cpu"):
        yield
    K.fail_allocation(-1)


def tensor(*shape: int) -> Any:
    return ml.asarray(np.random.default_rng(0).standard_normal(shape).astype("f"))


def labels(n: int, classes: int) -> Any:
    return ml.asarray(np.random.default_rng(1).integers(0, classes, n))


def mlp() -> tuple[Any, Callable[[Any], Any]]:
    x, y = tensor(64, 300), labels(64, 10)
    net = nn.Sequential(nn.Linear(300, 128), nn.ReLU(), nn.Dropout(0.2), nn.Linear(128, 10))
    return net, lambda model: functional.cross_entropy(model(x), y)


def cnn() -> tuple[Any, Callable[[Any], Any]]:
    x, y = tensor(8, 3, 20, 20), labels(8, 10)
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 8, 3, stride=2),
        nn.AvgPool2d(2), nn.Flatten(), nn.Linear(32, 10),
    )  # fmt: skip
    return net, lambda model: functional.cross_entropy(model(x), y)


def transformer() -> tuple[Any, Callable[[Any], Any]]:
    words = ml.asarray(np.random.default_rng(2).integers(0, 50, (4, 32)))
    target = tensor(4, 32, 64)
    layer = nn.TransformerEncoderLayer(64, 4, 128, dropout=0.1, activation="gelu", batch_first=True)
    net = nn.Sequential(nn.Embedding(50, 64), nn.TransformerEncoder(layer, 2, enable_nested_tensor=False))
    return net, lambda model: functional.mse_loss(model(words), target)


MODELS = {"mlp": mlp, "cnn": cnn, "transformer": transformer}
OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "adamw": lambda p: optim.AdamW(p, lr=1e-2),
    "momentum": lambda p: optim.SGD(p, lr=1e-2, momentum=0.9),
    "rmsprop": lambda p: optim.RMSprop(p, lr=1e-2, momentum=0.9),
}


class Run:
    """A model in training whose state can be looked at and put back."""

    def __init__(self, model: str, optimizer: str) -> None:
        ml.manual_seed(0)
        self.net, self.loss = MODELS[model]()
        self.optimizer = OPTIMIZERS[optimizer](self.net.parameters())

    def step(self) -> None:
        ml.manual_seed(7)
        self.optimizer.zero_grad()
        self.loss(self.net).backward()
        self.optimizer.step()

    def in_use(self) -> int:
        """Bytes of the allocator, without gradients."""
        self.optimizer.zero_grad()
        return int(mlcore_cpu.memory_stats()["in_use"])

    def values(self) -> list[Any]:
        """Copies of all parameters and of the optimizer's state, in order."""
        states = self.optimizer.state_dict()["state"]
        return [np.array(p.numpy()) for p in self.net.parameters()] + [
            np.array(one) for held in states.values() for one in held.values()
        ]

    def save(self) -> tuple[Any, Any]:
        model = {name: np.array(one) for name, one in self.net.state_dict().items()}
        return model, self.optimizer.state_dict()

    def restore(self, saved: tuple[Any, Any]) -> None:
        self.net.load_state_dict({name: ml.asarray(one) for name, one in saved[0].items()})
        self.optimizer.load_state_dict(saved[1])


def error_of(run: Run) -> MemoryError | None:
    """What a step raises, without the frames that hold its tensors."""
    try:
        run.step()
    except MemoryError as error:
        return error.with_traceback(None)
    return None


def same(one: list[Any], other: list[Any]) -> bool:
    return len(one) == len(other) and all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("model", MODELS)
def test_any_allocation_of_a_step_may_fail(model: str, optimizer: str) -> None:
    run = Run(model, optimizer)
    run.step()
    run.step()  # caches are filled
    start, saved = run.values(), run.save()
    K.fail_allocation(MANY)
    run.step()
    count = MANY - K.fail_allocation(-1)
    after = run.values()
    assert count > 20
    run.restore(saved)
    gc.collect()
    before, spared = run.in_use(), 0
    for k in range(count):
        K.fail_allocation(k)
        failure = error_of(run)
        assert K.fail_allocation(-1) == -1
        if failure is None:  # scratch memory that a kernel can do without
            spared += 1
            assert same(run.values(), after), f"allocation {k} was done without, and the values differ"
            run.restore(saved)
            continue
        assert isinstance(failure, OutOfMemoryError), (k, failure)
        assert "bytes" in str(failure), (k, failure)
        assert "in_use" in str(failure), (k, failure)
        del failure
        assert same(run.values(), start), f"allocation {k}: parameters or state are half updated"
        if run.in_use() != before:
            gc.collect()
        assert run.in_use() == before, f"allocation {k} leaks"
        if k % 7 == 0 or k == count - 1:
            run.restore(saved)  # the running statistics of batch norm have moved on
            run.step()
            assert same(run.values(), after), f"after allocation {k} a clean step gives other values"
            run.restore(saved)
            before = run.in_use()
    assert spared <= 2


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_first_step_may_fail_too(optimizer: str) -> None:
    """The optimizer makes its state in it: what was made stays usable."""
    whole = Run("mlp", optimizer)
    K.fail_allocation(MANY)
    whole.step()
    count = MANY - K.fail_allocation(-1)
    for k in range(count):
        run = Run("mlp", optimizer)
        K.fail_allocation(k)
        with pytest.raises(OutOfMemoryError):
            run.step()
        assert K.fail_allocation(-1) == -1
        if k % 5 == 0 or k > count - 20:
            run.step()
            assert same(run.values(), whole.values()), k


def test_the_message() -> None:
    x = ml.ones((300, 300))
    K.fail_allocation(0)
    with pytest.raises(
        OutOfMemoryError, match=r"exp on cpu: cannot allocate 360,000 bytes .*\(300, 300\), float32"
    ) as caught:
        ml.exp(x)
    assert "in_use" in str(caught.value)
    K.fail_allocation(0)
    with pytest.raises(OutOfMemoryError, match=r"matmul|contract"):
        ml.matmul(x, x)
    p = nn.Parameter(ml.ones((3,)))
    p.grad = ml.ones((3,))
    optimizer = optim.AdamW([p])
    optimizer.step()
    held = p.detach()
    K.fail_allocation(0)
    with pytest.raises(OutOfMemoryError, match="adam_step"):
        optimizer.step()
    assert held.tolist() == p.tolist()


def test_the_switch_counts_and_goes_off() -> None:
    x = np.ones((300, 300), "f")
    add = kernel("add")
    assert K.fail_allocation(2) == -1
    add(x, x)
    add(x, x)
    with pytest.raises(MemoryError):
        add(x, x)
    assert add(x, x)[0, 0] == 2
    assert K.fail_allocation(5) == -1
    assert K.fail_allocation(-1) == 5


def test_failures_in_several_threads() -> None:
    """Threads that run out of memory at random: errors of the right kind, the others' results right, nothing lost."""
    gc.collect()
    x = np.random.default_rng(0).standard_normal((400, 400)).astype("f")
    names = [("exp", (x,)), ("contract", (x, x)), ("softmax", (x, 0)), ("reduce_sum", (x, (0,), False))]
    want = [kernel(name)(*args) for name, args in names]
    before = mlcore_cpu.memory_stats()["in_use"]
    wrong: list[Any] = []
    failed: list[str] = []

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(60):
            if rng.integers(3) == 0:
                K.fail_allocation(int(rng.integers(4)))
            for (name, args), expected in zip(names, want, strict=True):
                try:
                    got = kernel(name)(*args)
                except OutOfMemoryError:
                    failed.append(name)
                except BaseException as error:
                    wrong.append(error)
                else:
                    if not np.array_equal(got, expected):
                        wrong.append(name)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(3)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    K.fail_allocation(-1)
    assert not wrong
    assert failed
    assert mlcore_cpu.memory_stats()["in_use"] == before
