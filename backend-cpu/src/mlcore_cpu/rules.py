"""Optimizer steps of any rule: recorded as a chain, and run over all parameters in one call."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from mlcore.compile.chain import record, record_any_shape
from mlcore.dtypes import all_dtypes
from mlcore.ops.update import rule_of
from mlcore.table import same
from mlcore_cpu import chain as lowering
from mlcore_cpu.loader import kernels as K

CHAINS = os.environ.get(
    "MLCORE_CPU_CHAINS", "1"
)  # "0": rules are composed; "all": chains, also where a kernel is
MOST_PROGRAMS = 64  # of one rule: as many ways through its branches, of all dtypes


class FusedRule:
    """The kernel of an optimizer step (see mlcore.optim.step): its rule runs once for all parameters of a kind.

    The recording is made anew when the numbers change, since the rule may compute with them as it likes; the program
    for it is not, while the steps are the same. A rule that is not elementwise is composed, and `report` says why.
    """

    __slots__ = ("_last", "_programs", "_refused", "call", "dtypes", "name", "op", "origin", "rule", "update")

    def __init__(self, op: Any, call: Any = None, update: Any = None) -> None:
        self.op, self.name, self.rule = op, op.name, rule_of(op)
        self.dtypes: Any = None
        self.call = call  # a kernel of its own, for float32 and float64
        self.update = self.fused
        if update is not None:

            def own_or_fused(arrays: list[Any], *values: Any) -> int:
                replaced: int = update(arrays, *values)
                return self.fused(arrays, *values) if replaced < 0 else replaced

            self.update = own_or_fused
        self.origin = "chain" if call is None else "native"
        self._programs: dict[Any, Any] = {}
        self._refused: dict[Any, str] = {}
        self._last: Any = None

    def codes(self) -> tuple[int, ...]:
        return (lowering.F16, lowering.BF16, lowering.F32, lowering.F64)

    def __repr__(self) -> str:
        return f"<cpu kernel {self.op.name}>"

    def fused(self, arrays: list[Any], *values: Any) -> int:
        """See mlcore.optim.step: new values in place of the old ones; -1 where the rule is to be composed."""
        columns = self._columns(values)
        plan = self._plan(K.chain_facts(arrays, columns), lambda: _shapes(arrays, columns), values)
        if plan is None:
            return -1
        codes, programs, numbers, places = plan
        which = _which(places, arrays[: len(arrays) // columns])
        replaced: int = K.chain_update(programs, numbers, which, arrays, columns, codes)
        return replaced

    def __call__(self, *args: Any) -> tuple[Any, ...]:
        if self.call is not None and args[0].dtype.itemsize > 2:
            found: tuple[Any, ...] = self.call(*args)
            return found
        count = len(self.op.params)
        arrays, values = list(args[:-count]) if count else list(args), args[len(args) - count :]
        columns = self._columns(values)
        plan = self._plan(K.chain_facts(arrays, columns), lambda: _shapes(arrays, columns), values)
        if plan is None:
            raise NotImplementedError(f"{self.name}: no chain for these")  # takes() has said so
        codes, programs, numbers, places = plan
        which = _which(places, arrays[: len(arrays) // columns])
        made: tuple[Any, ...] = K.chain_call(programs, numbers, which, arrays, columns, codes)
        return made

    def takes(self, given: tuple[Any, ...], values: tuple[Any, ...]) -> bool:
        """Whether this kernel is for tensors of such (shape, dtype) and such numbers; dispatch composes where not."""
        columns = self._columns(values)
        n = len(given) // columns
        codes = tuple([given[n * k][1].index for k in range(columns)] if n else ())
        if any(given[i] != (given[i % n][0], all_dtypes[codes[i // n]]) for i in range(len(given))):
            return False
        if self.call is not None and codes and set(codes) <= {lowering.F32, lowering.F64}:
            return True
        dims = 0
        for shape, _ in given[:n]:
            dims |= 1 << len(shape)
        return self._plan((codes, dims), lambda: [one[0] for one in given[:n]], values) is not None

    def useful(self) -> bool:
        """Whether there may be numbers with which the rule is a chain: those of the samples are tried."""
        tried = [one.params for one in self.op.samples()]
        if not tried:
            return True
        for params in tried:
            values = tuple([params[name] for name in self.op.params])
            one = ((1,), all_dtypes[lowering.F32])
            if self.takes((one,) * self._columns(values), values):
                self._programs.clear()
                self._refused.clear()
                self._last = None
                return True
        return False

    def report(self) -> list[str]:
        """What became of the rule so far: its programs, and why it was composed where it was."""
        made = ["a kernel of its own"] if self.call is not None else []
        made += [f"one call for all parameters: {one!r}" for one in self._programs.values()]
        made += [f"composed: {why}" for why in dict.fromkeys(self._refused.values())]
        return made or ["not run yet"]

    # -- from numbers to programs -------------------------------------------------------------------------------

    def _columns(self, values: tuple[Any, ...]) -> int:
        return 2 + len(values[0] if self.rule.optional else self.rule.states)

    def _plan(self, facts: Any, shapes: Callable[[], list[Any]], values: tuple[Any, ...]) -> Any:
        """(dtype codes, programs, their numbers, the program of each rank or shape); None: compose."""
        if facts is None:
            return None
        last = self._last
        if last is not None and last[0] == facts and same(values, last[1]):
            return last[2][:4]
        kind = (facts[0], *[_branch(one) for one in values])
        if kind in self._refused:
            return None
        try:
            plan = self._recorded(facts, shapes, values)
        except MemoryError:
            raise
        except Exception as error:  # whatever it is, composing meets it again, and says it in its own words
            if len(self._refused) >= MOST_PROGRAMS:
                self._refused.clear()
            self._refused[kind] = str(error).partition("\n")[0] or type(error).__name__
            return None
        self._last = (facts, values, plan) if plan[4] else None
        return plan[:4]

    def _recorded(self, facts: Any, shapes: Callable[[], list[Any]], values: tuple[Any, ...]) -> Any:
        codes, dims = facts
        inputs = tuple([all_dtypes[code] for code in codes])
        given = dict(zip(self.op.params, values, strict=True))

        def code(tensors: list[Any]) -> list[Any]:
            return self.rule(tensors, given)

        chains: dict[Any, Any] = {}
        by_shape = False
        for ndim in range(dims.bit_length()):
            if dims >> ndim & 1:
                chains[ndim] = record_any_shape(code, inputs, ndim)
                by_shape |= chains[ndim] is None
        if by_shape:
            chains = {shape: record(code, inputs, shape) for shape in dict.fromkeys(shapes())}
        programs: list[Any] = []
        numbers: list[Any] = []
        places: dict[Any, int] = {}
        known: list[Any] = []
        for key, chain in chains.items():
            at = next(
                (i for i, one in enumerate(known) if one.numbers == chain.numbers and one.key == chain.key),
                -1,
            )
            if at < 0:
                at = len(programs)
                known.append(chain)
                programs.append(self._program(chain, len(codes)))
                numbers.append(chain.numbers)
            places[key] = at
        return codes, programs, numbers, places if len(programs) > 1 else None, not by_shape

    def _program(self, chain: Any, columns: int) -> Any:
        found = self._programs.get(chain.key)
        if found is None:
            if len(self._programs) >= MOST_PROGRAMS:
                self._programs.clear()
            own = (0, *range(2, columns))
            found = self._programs[chain.key] = lowering.program(chain, own)
        return found


def _shapes(arrays: list[Any], columns: int) -> list[tuple[int, ...]]:
    return [one.shape for one in arrays[: len(arrays) // columns]]


def _which(places: Any, parameters: list[Any]) -> list[int] | None:
    """The program of each parameter, by its shape or its number of dimensions; None: there is one."""
    if places is None:
        return None
    return [places[one.shape] if one.shape in places else places[one.ndim] for one in parameters]


def _branch(value: Any) -> Any:
    """What a rule's way through its branches usually depends on: of a number, whether it is there."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value != 0
    try:
        hash(value)
    except TypeError:
        return type(value)
    return value
