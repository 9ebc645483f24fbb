"""One benchmark a group of rows, with the row as its parameter."""

from __future__ import annotations

from typing import Any, ClassVar

from mlcore.bench import rows
from mlcore.bench.groups import convolution, elementwise, matmul, overhead, reductions, sequences, training
from mlcore.bench.libraries import Mlcore


def _names(group: str) -> list[str]:
    return [row.id for row in rows.load().values() if row.group == group]


class _Group:
    """Builds the row before it is timed; asv chooses how often the step runs."""

    param_names = ("row",)

    def setup(self, name: str) -> None:
        row = rows.load()[name]
        self.task = row.build(Mlcore(), row.data())
        step = self.task.step
        # A statement is compiled once, so that evaluating it is all that is timed.
        self.code: Any = compile(step, name, "eval") if isinstance(step, str) else None
        self.time_row(name)

    def time_row(self, name: str) -> None:
        if self.code is None:
            self.task.step()  # type: ignore[operator]
        else:
            eval(self.code, self.task.names)  # noqa: S307
        self.task.finish()


class Overhead(_Group):
    params: ClassVar = [_names(overhead.GROUP)]


class Elementwise(_Group):
    params: ClassVar = [_names(elementwise.GROUP)]


class Reductions(_Group):
    params: ClassVar = [_names(reductions.GROUP)]


class Matmul(_Group):
    params: ClassVar = [_names(matmul.GROUP)]


class Convolution(_Group):
    params: ClassVar = [_names(convolution.GROUP)]


class Sequences(_Group):
    params: ClassVar = [_names(sequences.GROUP)]


class Training(_Group):
    params: ClassVar = [_names(training.GROUP)]


class Inference(_Group):
    params: ClassVar = [_names(training.INFERENCE)]
