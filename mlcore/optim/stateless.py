"""An optimizer for a while over other parameters and another state."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from mlcore.errors import StateDictError
from mlcore.optim.optimizer import Optimizer


@contextmanager
def swap_in_optimizer_params_and_state(
    optimizer: Optimizer, swapin_parameters: Mapping[str, Any], swapin_optim_state: Mapping[str, Any]
) -> Iterator[None]:
    """The optimizer works on `swapin_parameters` meanwhile, from a state such as `state_dict()` gives.

    The parameters come in the order of the optimizer's own, which are untouched and are its own again afterwards. The
    given state is untouched too: states are values here.

    >>> import mlcore as ml
    >>> from mlcore import nn, optim
    >>> p, q = nn.Parameter(ml.asarray([1.0])), nn.Parameter(ml.asarray([5.0]))
    >>> optimizer = optim.SGD([p], lr=1.0); q.grad = ml.asarray([2.0])
    >>> with optim.swap_in_optimizer_params_and_state(optimizer, {"q": q}, optimizer.state_dict()):
    ...     optimizer.step()
    >>> p.tolist(), q.tolist()
    ([1.0], [3.0])
    """
    given = list(swapin_parameters.values())
    wanted = [one for group in optimizer.param_groups for one in group["params"]]
    if [one.shape for one in given] != [one.shape for one in wanted]:
        raise StateDictError(
            f"swap_in_optimizer_params_and_state: parameters of shapes {[one.shape for one in given]} for "
            f"{[one.shape for one in wanted]}",
            fix="give one for each of the optimizer's, in its order",
        )
    state, groups = optimizer.state, [dict(group) for group in optimizer.param_groups]
    try:
        rest = iter(given)
        for group in optimizer.param_groups:
            group["params"] = [next(rest) for _ in group["params"]]
        optimizer.state = defaultdict(dict)
        optimizer.load_state_dict(swapin_optim_state)
        yield
    finally:
        optimizer.state, optimizer.param_groups = state, groups
