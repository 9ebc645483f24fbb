"""Formulas where XLA's own are not as exact as mlcore declares them, on a processor: found by the conformance kit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def tanh(x: Any) -> Any:
    """XLA's is three units off near 1, which matters where 1 is subtracted: in float32 one of its code generators stays
    short of 1 beyond 8, in float64 its code without optimisation is that much off from 1 on."""
    if x.dtype.kind == "c":
        return jnp.tanh(x)
    if x.dtype == jnp.float64:
        size = jnp.abs(x)
        return jnp.where(size > 1, jnp.sign(x) * (1 - 2 / (jnp.exp(2 * size) + 1)), jnp.tanh(x))
    return jnp.where(jnp.abs(x) > 9, jnp.sign(x), jnp.tanh(x))


def log1p(x: Any) -> Any:
    """In float64, XLA's is 125 units off around -0.4: what 1 + x loses is made up for by a factor."""
    if x.dtype != jnp.float64:
        return jnp.log1p(x)
    near = 1 + x
    return jnp.where((x > -0.9) & (x < -0.1), jnp.log(near) * (x / (near - 1)), jnp.log1p(x))


def atanh(x: Any) -> Any:
    """The same, since XLA takes the logarithm of 1 - x: here its argument is not negative."""
    if x.dtype != jnp.float64:
        return jnp.atanh(x)
    size = jnp.abs(x)
    return jnp.sign(x) * 0.5 * jnp.log1p(2 * size / (1 - size))


def _apart(call: Callable[..., Any]) -> Callable[..., Any]:
    """XLA makes of division by a row or column products with its inverses: those of huge numbers are flushed to 0."""
    return lambda x, y: call(*jax.lax.optimization_barrier(jnp.broadcast_arrays(x, y)))


def power(x: Any, y: Any) -> Any:
    """JAX looks at six bits of an integer's exponent, and a complex power of 0 is nan."""
    if x.dtype.kind in "iu":
        return _integer_power(*jnp.broadcast_arrays(x, y))
    if x.dtype.kind == "c":
        return jnp.where((x == 0) & (y.real > 0), jnp.zeros((), x.dtype), jnp.power(x, y))
    return jnp.power(x, y)


def _integer_power(x: Any, y: Any) -> Any:
    """By squaring, with every bit of the exponent; a negative one is refused before it gets here."""

    def step(_: Any, state: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
        made, square, left = state
        return jnp.where(left & 1 == 1, made * square, made), square * square, left >> 1

    return jax.lax.fori_loop(0, 8 * x.dtype.itemsize, step, (jnp.ones_like(x), x, y))[0]


mended: dict[str, Callable[..., Any]] = {
    "atanh": atanh, "divide": _apart(jnp.divide), "floor_divide": _apart(jnp.floor_divide), "log1p": log1p,
    "pow": power, "tanh": tanh,
}  # fmt: skip
