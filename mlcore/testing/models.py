"""Level 1: three small networks trained for ten steps, with no host fallback, beside the reference backend.

They are written in operations, not in `mlcore.nn`, so that a failure here is the backend's.

PYTEST_DONT_REWRITE: pytest would explain a failure by comparing megabytes, line by line.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from mlcore import autograd
from mlcore.backends import detect
from mlcore.backends.protocol import Device
from mlcore.inputs import from_data
from mlcore.ops import random, registry
from mlcore.testing.units import Tally

STEPS = 10
Params = dict[str, Any]

adam_step = registry.get("adam_step")
avg_pool = registry.get("avg_pool")
batch_norm = registry.get("batch_norm")
convolution = registry.get("convolution")
gather = registry.get("gather")
layer_norm = registry.get("layer_norm")
linear = registry.get("linear")
max_pool = registry.get("max_pool")
scaled_dot_product_attention = registry.get("scaled_dot_product_attention")
sgd_momentum_step = registry.get("sgd_momentum_step")
softmax_cross_entropy = registry.get("softmax_cross_entropy")


class Net:
    """Parameters by name on one device, and what a step does with them."""

    def __init__(self, device: Device, seed: int = 0) -> None:
        self.device = device
        self.source = random.Generator(seed)
        self.params: Params = {}
        self.states: list[list[Any]] = []
        self.steps = 0

    def weight(self, name: str, shape: tuple[int, ...], fan_in: int) -> None:
        """A parameter drawn uniformly, the same bits on every device."""
        bound = 1 / math.sqrt(fan_in)
        self.params[name] = random.uniform(shape, -bound, bound, generator=self.source, device=self.device)

    def constant(self, name: str, shape: tuple[int, ...], value: float) -> None:
        """A parameter of one value."""
        self.params[name] = from_data(np.full(shape, value, dtype=np.float32), None, self.device)

    def loss(self) -> Any:
        """The loss of the fixed batch."""
        raise TypeError("Net is a base: use one of the models below")

    def step(self) -> float:
        """One training step: forward, backward, update; returns the loss."""
        for one in self.params.values():
            one.requires_grad_()
        loss = self.loss()
        names = list(self.params)
        grads = autograd.grad(loss, [self.params[n] for n in names])
        with autograd.no_grad():
            old = [self.params[n].detach() for n in names]
            total = registry.get("sqrt")(sum((g * g).sum() for g in grads))
            scale = 1.0 / max(1.0, total.item())
            new = self.update(old, [g * scale for g in grads])
        self.params = dict(zip(names, new, strict=True))
        return float(loss.item())

    def update(self, old: list[Any], grads: list[Any]) -> list[Any]:
        """AdamW."""
        self.steps += 1
        if not self.states:
            self.states = [[p * 0.0 for p in old], [p * 0.0 for p in old]]
        made = adam_step(
            [*old, *grads, *self.states[0], *self.states[1]], lr=0.01, beta1=0.9, beta2=0.999, eps=1e-8,
            weight_decay=0.01, decoupled=True, step=self.steps,
        )  # fmt: skip
        n = len(old)
        self.states = [list(made[n : 2 * n]), list(made[2 * n :])]
        return list(made[:n])

    def data(self, shape: tuple[int, ...], seed: int) -> Any:
        """A fixed batch of inputs."""
        found = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
        return from_data(found, None, self.device)

    def labels(self, shape: tuple[int, ...], classes: int, seed: int) -> Any:
        """Fixed integers."""
        return from_data(np.random.default_rng(seed).integers(0, classes, shape), None, self.device)


class Mlp(Net):
    """Two hidden layers, relu and tanh, AdamW."""

    def __init__(self, device: Device) -> None:
        super().__init__(device)
        for i, (n_in, n_out) in enumerate(((20, 32), (32, 16), (16, 10))):
            self.weight(f"w{i}", (n_out, n_in), n_in)
            self.weight(f"b{i}", (n_out,), n_in)
        self.x, self.y = self.data((16, 20), 1), self.labels((16,), 10, 2)

    def loss(self) -> Any:
        p = self.params
        h = linear(self.x, p["w0"], p["b0"]).relu()
        h = linear(h, p["w1"], p["b1"]).tanh()
        return softmax_cross_entropy(linear(h, p["w2"], p["b2"]), self.y)[0].mean()


class Cnn(Net):
    """Two convolutions with batch_norm, both pools, gelu, SGD with momentum."""

    def __init__(self, device: Device) -> None:
        super().__init__(device)
        self.weight("c0", (6, 2, 3, 3), 18)
        self.constant("s0", (6,), 1.0)
        self.constant("t0", (6,), 0.0)
        self.weight("c1", (8, 3, 3, 3), 27)
        self.weight("d1", (8,), 27)
        self.weight("w", (5, 8 * 3 * 3), 72)
        self.weight("b", (5,), 72)
        self.x, self.y = self.data((8, 2, 12, 12), 3), self.labels((8,), 5, 4)

    def loss(self) -> Any:
        p = self.params
        h = convolution(self.x, p["c0"], padding=1)
        h = max_pool(batch_norm(h, p["s0"], p["t0"])[0].relu(), kernel=(2, 2))
        h = convolution(h, p["c1"], p["d1"], padding=1, groups=2).gelu()
        h = avg_pool(h, kernel=(2, 2)).reshape((8, -1))
        return softmax_cross_entropy(linear(h, p["w"], p["b"]), self.y)[0].mean()

    def update(self, old: list[Any], grads: list[Any]) -> list[Any]:
        first = not self.states
        buffers = self.states[0] if self.states else [p * 0.0 for p in old]
        made = sgd_momentum_step(
            [*old, *grads, *buffers],
            lr=0.1,
            momentum=0.9,
            dampening=0.0,
            weight_decay=1e-4,
            nesterov=False,
            first=first,
        )
        self.states = [list(made[len(old) :])]
        return list(made[: len(old)])


class Transformer(Net):
    """One block: embeddings, causal attention, layer_norm, dropout, gelu and silu, AdamW."""

    WIDTH, HEADS, WORDS, LENGTH = 16, 2, 11, 8

    def __init__(self, device: Device) -> None:
        super().__init__(device)
        d = self.WIDTH
        self.weight("words", (self.WORDS, d), 1)
        self.weight("places", (self.LENGTH, d), 1)
        for name, shape in (
            ("qkv", (3 * d, d)),
            ("out", (d, d)),
            ("up", (4 * d, d)),
            ("down", (d, 4 * d)),
            ("head", (self.WORDS, d)),
        ):
            self.weight(name, shape, shape[1])
        for name in ("n0", "n1", "n2"):
            self.constant(name, (d,), 1.0)
            self.constant(f"{name}b", (d,), 0.0)
        self.tokens = self.labels((4, self.LENGTH + 1), self.WORDS, 5)
        self.noise = random.Generator(9)

    def norm(self, x: Any, name: str) -> Any:
        return layer_norm(x, self.params[name], self.params[f"{name}b"])[0]

    def loss(self) -> Any:
        p, d, n = self.params, self.WIDTH, self.LENGTH
        x = gather(p["words"], self.tokens[:, :-1], axis=0) + p["places"]
        qkv = linear(self.norm(x, "n0"), p["qkv"], None).reshape((4, n, 3, self.HEADS, d // self.HEADS))
        q, k, v = (qkv[:, :, i].permute_dims((0, 2, 1, 3)) for i in range(3))
        seen = (
            scaled_dot_product_attention(q, k, v, is_causal=True)
            .permute_dims((0, 2, 1, 3))
            .reshape((4, n, d))
        )
        x = x + random.dropout(linear(seen, p["out"], None), 0.1, generator=self.noise)
        x = x + linear(linear(self.norm(x, "n1"), p["up"], None).silu(), p["down"], None)
        logits = linear(self.norm(x, "n2"), p["head"], None).reshape((-1, self.WORDS))
        return softmax_cross_entropy(logits, self.tokens[:, 1:].reshape((-1,)))[0].mean()


MODELS: dict[str, type[Net]] = {"mlp": Mlp, "cnn": Cnn, "transformer": Transformer}


def losses(name: str, device: Device, steps: int = STEPS) -> list[float]:
    """The losses of a reference model's first steps."""
    net = MODELS[name](device)
    return [net.step() for _ in range(steps)]


def check_model(name: str, device: Device) -> Callable[[Tally], None]:
    """The losses beside the reference's; the caller has forbidden host fallback."""

    def run(tally: Tally) -> None:
        with tally.case(f"{STEPS} training steps"):
            found = losses(name, device)
            wanted = losses(name, detect.resolve("reference"))
            assert all(math.isfinite(v) for v in found), f"losses {found}"
            assert found[-1] < found[0], f"the loss does not fall: {found}"
            for step, (a, b) in enumerate(zip(found, wanted, strict=True)):
                assert abs(a - b) <= 1e-4 * (1 + step) * max(1.0, abs(b)), (
                    f"step {step}: loss {a:.7g}, on the reference {b:.7g}"
                )
            tally.compare(len(found))
        with tally.case("the same again"):
            assert losses(name, device) == found, "two runs differ"

    return run
