"""Exponential moving averages of a model's weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from mlcore import dispatch
from mlcore.errors import StateDictError
from mlcore.ops.elementwise import astype
from mlcore.ops.update import update_step
from mlcore.optim.hyper import number
from mlcore.optim.step import buckets, run


@update_step(name="average_step", samples=[dict(rate=0.1, special=False), dict(rate=1.0, special=False)])
def average_step(average: Any, current: Any, /, *, rate: float) -> Any:
    """The averages, moved by `rate` towards the current values."""
    return average + (current - average) * rate


def average(averages: list[Any], current: list[Any], rate: float) -> None:
    """Move averages towards current values, in place; integers are rounded towards 0."""
    with dispatch.recording(False):
        floats = [i for i, one in enumerate(averages) if one.dtype.kind == "f"]
        if floats:
            for _, owners, values in buckets([averages[i] for i in floats], [current[i] for i in floats]):
                run(average_step, [owners, values], (rate,))
        for i in set(range(len(averages))) - set(floats):
            one = averages[i]
            one.rebind(astype(one + (current[i] - one) * rate, one.dtype))


class EMA:
    """An exponential moving average of a model's parameters: `update()` after each step, `applied()` to use it.

    `decay` is what the old average keeps at each update. With `warmup` it is at most `(1 + updates) / (10 + updates)`,
    so that the first weights are soon forgotten. Buffers are not averaged: they are the model's.

    >>> import mlcore as ml
    >>> from mlcore import nn, optim
    >>> net = nn.Linear(1, 1, bias=False); _ = net.weight.rebind(ml.full((1, 1), 2.0))
    >>> ema = optim.EMA(net, decay=0.75)
    >>> _ = net.weight.rebind(ml.full((1, 1), 6.0)); ema.update()
    >>> with ema.applied():
    ...     net.weight.item()
    3.0
    >>> net.weight.item()
    6.0
    """

    def __init__(self, model: Any, decay: float = 0.999, *, warmup: bool = False) -> None:
        self.decay = number("EMA", "decay", decay, high=1.0)
        self.warmup, self.updates = warmup, 0
        self._parameters: dict[str, Any] = dict(model.named_parameters())
        self.averages: dict[str, Any] = {name: one.detach() for name, one in self._parameters.items()}

    def update(self) -> None:
        """Take in the parameters that the model has now."""
        self.updates += 1
        kept = self.decay
        if self.warmup:
            kept = min(kept, (1 + self.updates) / (10 + self.updates))
        average(list(self.averages.values()), [one.detach() for one in self._parameters.values()], 1 - kept)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The model has the averages meanwhile, and its own parameters again afterwards."""
        own = {name: one.detach() for name, one in self._parameters.items()}
        self.copy_to_model()
        try:
            yield
        finally:
            self._give(own)

    def copy_to_model(self) -> None:
        """Give the model the averages for good."""
        self._give({name: one.detach() for name, one in self.averages.items()})

    def _give(self, values: Mapping[str, Any]) -> None:
        with dispatch.recording(False):
            for name, one in self._parameters.items():
                one.rebind(values[name])

    def state_dict(self) -> dict[str, Any]:
        """The averages by the parameters' names, and how many updates they have seen."""
        return {
            "decay": self.decay,
            "updates": self.updates,
            "averages": {name: one.detach() for name, one in self.averages.items()},
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from a `state_dict` of the same parameters."""
        given = state_dict.get("averages", {})
        missing, unknown = sorted(set(self.averages) - set(given)), sorted(set(given) - set(self.averages))
        if missing or unknown:
            raise StateDictError(f"EMA.load_state_dict: missing {missing}, unknown {unknown}",
                                 fix="load it over the model that it was saved with")  # fmt: skip
        for name, one in self.averages.items():
            if tuple(given[name].shape) != one.shape:
                raise StateDictError(
                    f"EMA.load_state_dict: {name!r} has shape {tuple(given[name].shape)}, the parameter {one.shape}"
                )
        for name, one in self.averages.items():
            value = (
                dispatch.from_data(given[name], one.dtype, one.device)
                if not hasattr(given[name], "to")
                else given[name]
            )
            one.rebind(astype(value.detach().to(one.device), one.dtype))
        self.decay, self.updates = state_dict["decay"], state_dict["updates"]
