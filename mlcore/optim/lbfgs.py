"""L-BFGS: steps from the curvature that the last gradients show."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from mlcore import dispatch
from mlcore.errors import ArgumentError, ArgumentTypeError
from mlcore.ops.creation import zeros
from mlcore.ops.elementwise import abs as magnitude
from mlcore.ops.reduce import max as largest
from mlcore.ops.reduce import sum as total
from mlcore.ops.shape import concat, reshape
from mlcore.optim.hyper import count, hyper, number
from mlcore.optim.line_search import Point, strong_wolfe
from mlcore.optim.rule import Declared, Group

NUMBERS = ("t", "H_diag", "ro", "al", "prev_loss")


class LBFGS(Declared):
    """L-BFGS (Liu and Nocedal 1989) over all parameters together, for losses without noise.

    `step(closure)` needs a closure that forgets the gradients, computes the loss, calls `backward()` and returns the
    loss: it is called up to `max_eval` times (by default `max_iter * 5 // 4`) in up to `max_iter` iterations.
    Without a line search each step has the length `lr`; with `line_search_fn="strong_wolfe"` it is searched for.
    There is one group of parameters.

    >>> import mlcore as ml
    >>> from mlcore import nn, optim
    >>> p = nn.Parameter(ml.asarray([-1.0, 2.0], dtype=ml.float64))
    >>> optimizer = optim.LBFGS([p], line_search_fn="strong_wolfe", max_iter=50)
    >>> def closure():
    ...     optimizer.zero_grad()
    ...     loss = (1 - p[0]) ** 2 + 100 * (p[1] - p[0] ** 2) ** 2
    ...     loss.backward()
    ...     return loss
    >>> _ = optimizer.step(closure); [round(one, 4) for one in p.tolist()]
    [1.0, 1.0]
    """

    params: Iterable[Any]
    lr: float = hyper(default=1.0)
    max_iter: int = hyper(default=20)
    max_eval: int | None = hyper(default=None)
    tolerance_grad: float = hyper(default=1e-7)
    tolerance_change: float = hyper(default=1e-9)
    history_size: int = hyper(default=100)
    line_search_fn: str | None = hyper(default=None, choices=(None, "strong_wolfe"))

    def check(self, group: Group) -> None:
        if group["max_eval"] is None:
            group["max_eval"] = self.defaults["max_eval"] = group["max_iter"] * 5 // 4
        count("LBFGS", "max_eval", group["max_eval"])
        if len(self.param_groups) > 1 or (
            self.param_groups and self.param_groups[0]["params"] is not group["params"]
        ):
            raise ArgumentError("LBFGS: more than one group of parameters", cause="it moves all of them together",
                                fix="give one list of parameters")  # fmt: skip

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Go on by up to `max_iter` iterations; returns the loss before them."""
        if closure is None:
            raise ArgumentTypeError(
                "LBFGS.step: there is no closure",
                cause="it evaluates the loss several times",
                fix="pass a function that computes the loss, calls backward() and returns it",
            )
        with dispatch.recording(False):
            return _Run(self, closure).go()

    # -- state ------------------------------------------------------------------------------------------------

    def _saved(self, key: str, value: Any) -> Any:
        return list(value) if isinstance(value, list) else super()._saved(key, value)

    def _loaded(self, who: str, i: Any, key: str, value: Any, owner: Any) -> Any:
        if key not in NUMBERS:
            return super()._loaded(who, i, key, value, owner)
        if isinstance(value, list):
            return [None if one is None else float(one) for one in value]
        return value if value is None else float(value)


class _Run:
    """One call of `step`: the parameters as one vector, and the state between iterations."""

    def __init__(self, optimizer: LBFGS, closure: Callable[[], Any]) -> None:
        self.group = optimizer.param_groups[0]
        self.parameters = self.group["params"]
        self.closure = closure
        self.state = optimizer.state[self.parameters[0]]
        self.state.setdefault("func_evals", 0)
        self.state.setdefault("n_iter", 0)
        self.evaluations = 0
        self.rate = number("LBFGS", "lr", self.group["lr"])

    def go(self) -> Any:
        group, state = self.group, self.state
        first = self._evaluate()
        gradient, loss = self._gradient(), float(first)
        if _size(gradient) <= group["tolerance_grad"]:
            return first
        iterations = 0
        while iterations < group["max_iter"]:
            iterations += 1
            state["n_iter"] += 1
            self._direction(gradient)
            d = state["d"]
            state["prev_flat_grad"], state["prev_loss"] = gradient, loss
            state["t"] = (
                min(1.0, 1.0 / _sum(magnitude(gradient))) * self.rate if state["n_iter"] == 1 else self.rate
            )
            slope = _sum(gradient * d)
            if slope > -group["tolerance_change"]:
                break
            last = iterations == group["max_iter"]
            if group["line_search_fn"] is not None:
                loss, gradient = self._search(loss, gradient, slope)
            else:
                self._move(state["t"] * d)
                if not last:  # there is no use in evaluating where nothing follows
                    loss, gradient = float(self._evaluate()), self._gradient()
            if last or self.evaluations >= group["max_eval"] or self._finished(loss, gradient):
                break
        return first

    def _finished(self, loss: float, gradient: Any) -> bool:
        state, change = self.state, self.group["tolerance_change"]
        return bool(
            _size(gradient) <= self.group["tolerance_grad"]
            or _size(state["d"] * state["t"]) <= change
            or abs(loss - state["prev_loss"]) < change
        )

    def _direction(self, gradient: Any) -> None:
        """The next direction: the two loops over the pairs of steps and changes of the gradient."""
        state = self.state
        if state["n_iter"] == 1:
            state.update(d=-gradient, old_dirs=[], old_stps=[], ro=[], H_diag=1.0)
            return
        changes, steps, ro = state["old_dirs"], state["old_stps"], state["ro"]
        y, s = gradient - state["prev_flat_grad"], state["d"] * state["t"]
        ys = _sum(y * s)
        if ys > 1e-10:
            if len(changes) == self.group["history_size"]:
                for one in (changes, steps, ro):
                    one.pop(0)
            changes.append(y)
            steps.append(s)
            ro.append(1.0 / ys)
            state["H_diag"] = ys / _sum(y * y)
        al = state.setdefault("al", [None] * self.group["history_size"])
        q = -gradient
        for i in reversed(range(len(changes))):
            al[i] = _sum(steps[i] * q) * ro[i]
            q = q - changes[i] * al[i]
        r = q * state["H_diag"]
        for i in range(len(changes)):
            r = r + steps[i] * (al[i] - _sum(changes[i] * r) * ro[i])
        state["d"] = r

    def _search(self, loss: float, gradient: Any, slope: float) -> tuple[float, Any]:
        state, group = self.state, self.group
        d = state["d"]
        start = [one.detach() for one in self.parameters]

        def evaluate(t: float) -> Point:
            self._move(t * d)
            found, there = float(self._evaluate(count=False)), self._gradient()
            for one, value in zip(self.parameters, start, strict=True):
                one.rebind(value)
            return Point(t, found, there, _sum(there * d))

        most = group["max_eval"] - self.evaluations
        point, evaluated = strong_wolfe(
            evaluate, Point(0.0, loss, gradient, slope), state["t"], _size(d), 1e-9, most
        )
        self._counted(evaluated)
        state["t"] = point.t
        self._move(point.t * d)
        return point.loss, point.gradient

    def _evaluate(self, count: bool = True) -> Any:
        with dispatch.recording(True):
            loss = self.closure()
        if count:
            self._counted(1)
        return loss

    def _counted(self, evaluated: int) -> None:
        self.evaluations += evaluated
        self.state["func_evals"] += evaluated

    def _gradient(self) -> Any:
        """The gradients of all parameters as one vector; where there is none, 0."""
        flat = [
            zeros((one.size,), dtype=one.dtype, device=one.device)
            if one.grad is None
            else reshape(one.grad, (-1,))
            for one in self.parameters
        ]
        return concat(flat) if len(flat) > 1 else flat[0]

    def _move(self, change: Any) -> None:
        """Add a vector to the parameters."""
        at = 0
        for one in self.parameters:
            part = change[at : at + one.size]
            one.rebind(one.detach() + reshape(part, one.shape))
            at += one.size


def _sum(x: Any) -> float:
    return float(total(x))


def _size(x: Any) -> float:
    """The largest element."""
    return float(largest(magnitude(x))) if x.size else 0.0
