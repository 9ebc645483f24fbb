"""What happened in each epoch of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(slots=True)
class History:
    """One entry for each finished epoch, plain numbers: kept in checkpoints, printed, drawn.

    `loss` and `accuracy` are means over the training examples as they were seen, `held_out_*` those of the
    validation after the epoch (nan without one), `rate` is the learning rate at its end.

    >>> history = History()
    >>> history.add(loss=0.5, accuracy=0.9, held_out_loss=0.4, held_out_accuracy=0.92, rate=1e-3, seconds=2.0)
    >>> len(history), History.from_dict(history.to_dict()) == history
    (1, True)
    """

    loss: list[float] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)
    held_out_loss: list[float] = field(default_factory=list)
    held_out_accuracy: list[float] = field(default_factory=list)
    rate: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def add(self, **values: float) -> None:
        """Append one epoch; every field must be given."""
        for name, series in self.to_dict().items():
            series.append(float(values.pop(name)))
            setattr(self, name, series)
        if values:
            raise TypeError(f"History.add: unknown {', '.join(values)}")

    def __len__(self) -> int:
        return len(self.loss)

    def to_dict(self) -> dict[str, list[float]]:
        """Plain data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> History:
        """What `to_dict` gave."""
        return cls(**{name: [float(value) for value in series] for name, series in data.items()})
