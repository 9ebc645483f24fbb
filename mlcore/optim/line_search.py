"""A line search for the strong Wolfe conditions: a bracket, then a zoom by cubic interpolation.

Nocedal and Wright, Numerical Optimization (2006), algorithms 3.5 and 3.6, with the safeguards of M. Schmidt's minFunc,
which PyTorch's L-BFGS has too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

SUFFICIENT, CURVATURE = 1e-4, 0.9


class Point(NamedTuple):
    """A step length with the loss there, its gradient, and its slope along the direction."""

    t: float
    loss: float
    gradient: Any
    slope: float


def interpolate(a: Point, b: Point, bounds: tuple[float, float] | None = None) -> float:
    """The minimum of the cubic through two points with their slopes, within bounds (else between the points)."""
    left, right = (a, b) if a.t <= b.t else (b, a)
    low, high = bounds or (left.t, right.t)
    d = a.slope + b.slope - 3 * (a.loss - b.loss) / (a.t - b.t)
    square = d * d - a.slope * b.slope
    if not square >= 0:
        return (low + high) / 2
    root = math.sqrt(square)
    least = right.t - (right.t - left.t) * (right.slope + root - d) / (right.slope - left.slope + 2 * root)
    return min(max(least, low), high)


def strong_wolfe(
    evaluate: Callable[[float], Point], first: Point, t: float, length: float, tolerance: float, most: int
) -> tuple[Point, int]:
    """The point to step to from `first` (at 0), beginning with the length `t`; and how many times it evaluated.

    `length` is the largest element of the direction: a bracket that moves none by `tolerance` is left as it is.
    """
    bracket, tries, done = _bracket(evaluate, first, t, most)
    low, high = (0, 1) if bracket[0].loss <= bracket[-1].loss else (1, 0)
    stuck = False
    evaluated = tries + 1
    while not done and tries < most and abs(bracket[1].t - bracket[0].t) * length >= tolerance:
        t, stuck = _within(bracket, stuck)
        new = evaluate(t)
        tries, evaluated = tries + 1, evaluated + 1
        if new.loss > first.loss + SUFFICIENT * t * first.slope or new.loss >= bracket[low].loss:
            bracket[high] = new
            low, high = (0, 1) if bracket[0].loss <= bracket[1].loss else (1, 0)
            continue
        if abs(new.slope) <= -CURVATURE * first.slope:
            done = True
        elif new.slope * (bracket[high].t - bracket[low].t) >= 0:
            bracket[high] = bracket[low]
        bracket[low] = new
    return bracket[low], evaluated


def _bracket(
    evaluate: Callable[[float], Point], first: Point, t: float, most: int
) -> tuple[list[Point], int, bool]:
    """Two points with a good one between them, or one that is good; how many steps were tried; whether it is good."""
    before, new = first, evaluate(t)
    for tries in range(most):
        too_high = new.loss > first.loss + SUFFICIENT * new.t * first.slope
        if too_high or (tries > 1 and new.loss >= before.loss):
            return [before, new], tries, False
        if abs(new.slope) <= -CURVATURE * first.slope:
            return [new], tries, True
        if new.slope >= 0:
            return [before, new], tries, False
        t = interpolate(before, new, (new.t + 0.01 * (new.t - before.t), new.t * 10))
        before, new = new, evaluate(t)
    return [first, new], most, False


def _within(bracket: list[Point], stuck: bool) -> tuple[float, bool]:
    """The next length to try, away from the ends if the last one was at an end too."""
    t = interpolate(bracket[0], bracket[1])
    least, most = sorted((bracket[0].t, bracket[1].t))
    margin = 0.1 * (most - least)
    if min(most - t, t - least) >= margin:
        return t, False
    if stuck or t >= most or t <= least:
        return (most - margin if abs(t - most) < abs(t - least) else least + margin), False
    return t, True
