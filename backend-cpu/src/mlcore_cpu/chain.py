"""From a recorded chain (mlcore.compile.chain) to a program: loops of the tables, over slots that stay in the L1 cache.

Values that the chain makes get a slot until their last use; a result goes to its output at once, where nobody reads
what may lie there any more. What is done to one operand, and used nowhere else, is folded into the loop that uses it.
16-bit floats are computed in float32 and rounded where they leave.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mlcore_cpu.loader import kernels as K

BOOL, F16, BF16, F32, F64 = 0, 9, 10, 11, 12
SUPPORTED = (BOOL, F16, BF16, F32, F64)
SIZES = {BOOL: 1, F32: 4, F64: 8}
ARITHMETIC = ("add", "subtract", "multiply", "divide", "maximum", "minimum")
COMMUTES = ("add", "multiply")
Place = tuple[str, int]  # ("in" | "out" | "slot" | "number", index)


class Unfit(NotImplementedError):
    """A chain that this backend does not run: the reason."""


@dataclass(slots=True)
class Side:
    """An operand: a value, or -1 - number, and what is done to it first (csrc/isa/chain.cpp), with which numbers."""

    value: int
    how: str = "Same"
    s: int | None = None
    t: int | None = None


@dataclass(slots=True)
class Line:
    """One loop over a block; `operands` are values, or -1 - number, or None."""

    kind: str
    name: str
    code: int
    result: int
    to: int
    operands: list[int | None]
    mode: Any = 0

    @property
    def reads(self) -> list[int]:
        """The values it reads."""
        return [one for one in self.operands if one is not None and one >= 0]

    @property
    def over(self) -> bool:
        """Whether the result may lie over an operand."""
        return self.kind == "arithmetic"


def program(chain: Any, own: tuple[int, ...]) -> Any:
    """The program of a chain whose output k may lie over input own[k], and over no other. Raises Unfit."""
    try:
        return _Layout(chain, own).made()
    except NotImplementedError as error:
        raise Unfit(str(error)) from None


def _work(code: int) -> int:
    """The dtype that values of a dtype are computed in."""
    if code not in SUPPORTED:
        raise Unfit(f"dtype code {code}")
    return F32 if code in (F16, BF16) else code


class _Layout:
    """Lines over values first, then where each value lies."""

    def __init__(self, chain: Any, own: tuple[int, ...]) -> None:
        self.chain, self.own = chain, own
        self.inputs = [one.index for one in chain.inputs]
        self.numbers = [_work(one.index) for one in chain.kinds]
        self.codes: list[int] = []  # of each value here: those of the chain, and what is needed between
        self.lines: list[Line] = []
        self.at: dict[int, int] = {}  # the chain's value -> ours
        self.once: dict[int, int] = {}  # number -> the value that is a block of it
        self.unchanged = tuple(value == place for value, place in zip(chain.outputs, own, strict=True))
        self.outputs: list[int] = []  # our value of each output, of its storage dtype; -1: unchanged

    # -- lines ----------------------------------------------------------------------------------------------------

    def line(
        self, kind: str, name: str, code: int, result: int, operands: list[int | None], mode: Any = 0
    ) -> int:
        self.codes.append(result)
        self.lines.append(Line(kind, name, code, result, len(self.codes) - 1, operands, mode))
        return len(self.codes) - 1

    def full(self, value: int) -> int:
        """A value, or a number as a whole block."""
        if value >= 0:
            return value
        number = -1 - value
        if number not in self.once:
            self.codes.append(self.numbers[number])
            self.once[number] = len(self.codes) - 1
        return self.once[number]

    def write(self) -> None:
        chain = self.chain
        first = len(chain.inputs)
        needed = set(chain.outputs)
        for i in range(len(chain.steps) - 1, -1, -1):
            if first + i in needed:
                needed.update(chain.steps[i][3])
        self.codes += self.inputs
        for i, code in enumerate(self.inputs):
            halves = i in needed and code in (F16, BF16)
            self.at[i] = self.line("cast", "cast", code, F32, [i]) if halves else i
        for i, (op, more, dtype, operands) in enumerate(chain.steps, first):
            if i in needed:
                self.at[i] = self.step(op, more, _work(dtype.index), dtype.index, operands)
        for value, place, same in zip(chain.outputs, self.own, self.unchanged, strict=True):
            known = chain.inputs[value] if value < first else chain.steps[value - first][2]
            if known is not chain.inputs[place]:
                raise Unfit(f"a result of {known} where {chain.inputs[place]} was")
            self.outputs.append(self.output(value, self.inputs[place], same))

    def step(self, op: Any, more: tuple[Any, ...], result: int, dtype: int, operands: tuple[int, ...]) -> int:
        given = [self.at[one] if one >= 0 else one for one in operands]
        code = next((self.codes[one] for one in given[::-1] if one >= 0), None)
        code = self.numbers[-1 - given[-1]] if code is None else code
        if op.name == "astype":
            made = self.full(given[0])
            if code != result:
                made = self.line("cast", "cast", code, result, [made])
            if dtype in (F16, BF16):  # asked for: rounded here, too
                made = self.line("cast", "cast", F32, dtype, [made])
                made = self.line("cast", "cast", dtype, F32, [made])
            return made
        if op.name == "where":
            return self.line("select", "where", result, result, [self.full(one) for one in given])
        name = "_".join([op.name, *map(str, more)])
        if len(given) == 1:
            return self.line("unary", name, code, result, [self.full(given[0])])
        if given[0] < 0 and given[1] < 0:
            given[0] = self.full(given[0])
        if name in ARITHMETIC and code in (F32, F64):
            how = tuple("Number" if one < 0 else "Same" for one in given)
            return self.line("arithmetic", name, code, result, [*given, None, None, None], how)
        mode = 1 if given[0] < 0 else 2 if given[1] < 0 else 0
        return self.line("binary", name, code, result, list(given), mode)

    def output(self, value: int, code: int, unchanged: bool) -> int:
        """Our value that an output is: a copy, where it is an input of another place or has a place already."""
        found = self.at[value]
        if unchanged:
            return -1
        if code in (F16, BF16):
            return self.line("cast", "cast", F32, code, [found])
        if value < len(self.inputs) or found in self.outputs or found in self.once.values():
            return self.line("copy", "copy", code, code, [found])
        return found

    # -- folding --------------------------------------------------------------------------------------------------

    def fold(self) -> None:
        """Put what is done to one operand into the loop that uses it, where it is used by nobody else."""
        made = {line.to: line for line in self.lines}
        uses = dict.fromkeys(range(len(self.codes)), 0)
        for line in self.lines:
            for value in line.reads:
                uses[value] += 1
        single = {value for value, count in uses.items() if count == 1} - set(self.outputs)
        gone: set[int] = set()
        for line in self.lines:
            if line.kind != "arithmetic":
                continue
            left, right = (self.side(value, made, single) for value in line.operands[:2])
            orders = [(left, right)] + ([(right, left)] if line.name in COMMUTES else [])
            a, b = (Side(value, how) for value, how in zip(line.operands[:2], line.mode, strict=True))  # type: ignore[arg-type]  # the first two are there
            tried = [*orders, (left, b), (a, right)]
            if line.operands[0] == line.operands[1]:
                tried = []
            for one, other in tried:
                if K.chain_has(line.name, one.how, other.how, line.code) and one.t is None:
                    gone |= self.through(line.operands[:2], (one, other), made)
                    line.operands = [one.value, other.value, one.s, other.s, other.t]
                    line.mode = (one.how, other.how)
                    break
        self.lines = [line for line in self.lines if line.to not in gone]

    def side(self, value: Any, made: dict[int, Line], single: set[int]) -> Side:
        """The most that can be said of an operand from what is done to make it."""
        if value < 0:
            return Side(value, "Number")
        line = made.get(value)
        if value not in single or line is None:
            return Side(value)
        if line.kind == "unary" and line.name == "sqrt" and line.code in (F32, F64):
            return Side(line.reads[0], "Root")
        if line.kind != "arithmetic":
            return Side(value)
        x, other = line.operands[:2]
        if line.name == "multiply" and line.mode == ("Same", "Same") and x == other:
            return Side(x, "Square")  # type: ignore[arg-type]  # the first is there
        if line.mode == ("Same", "Number") and line.name == "multiply":
            return Side(x, "Scaled", other)  # type: ignore[arg-type]  # both operands are there
        if line.mode == ("Number", "Same") and line.name == "multiply":
            return Side(other, "Scaled", x)  # type: ignore[arg-type]  # both operands are there
        if line.mode == ("Square", "Number") and line.name == "multiply":
            return Side(x, "SquareScaled", other)  # type: ignore[arg-type]  # both operands are there
        if line.mode == ("Root", "Number") and line.name == "add":
            return Side(x, "RootPlus", None, other)  # type: ignore[arg-type]  # both operands are there
        if line.mode == ("Same", "Number") and line.name == "add":
            inner = made.get(x) if x in single else None
            if inner is not None and inner.mode == ("Root", "Number") and inner.name == "divide":
                # Both operands are there.
                return Side(inner.operands[0], "RootOverPlus", inner.operands[1], other)  # type: ignore[arg-type]
        return Side(value)

    def through(self, before: list[Any], after: tuple[Side, Side], made: dict[int, Line]) -> set[int]:
        """The values that need not be made any more."""
        found: set[int] = set()
        ends = {one.value for one in after}
        left = [one for one in before if one >= 0 and one not in ends]
        while left:
            value = left.pop()
            found.add(value)
            left += [one for one in made[value].reads if one not in ends]
        return found

    # -- places ---------------------------------------------------------------------------------------------------

    def made(self) -> Any:
        self.write()
        self.fold()
        last = {value: at for at, line in enumerate(self.lines) for value in line.reads}
        end = len(self.lines)
        place: dict[int, Place] = {i: ("in", i) for i in range(len(self.inputs))}
        free: list[Place] = []
        slots = 0

        def slot() -> Place:
            nonlocal slots
            if free:
                return free.pop()
            slots += 1
            return "slot", slots - 1

        for value in self.once.values():  # these are there all the time
            place[value] = slot()
            last[value] = end
        late = [k for k, value in enumerate(self.outputs) if value >= 0 and not self.direct(k, value, last)]
        last |= {self.outputs[k]: end for k in late}
        direct = {value: k for k, value in enumerate(self.outputs) if value >= 0 and k not in late}
        flat: list[tuple[Line, Place, list[Place | None]]] = []
        for at, line in enumerate(self.lines):
            done = [
                place[one] for one in dict.fromkeys(line.reads) if last[one] == at and place[one][0] == "slot"
            ]
            if line.over:
                free += done
            place[line.to] = ("out", direct[line.to]) if line.to in direct else slot()
            if not line.over:
                free += done
            found = [
                None if one is None else place[one] if one >= 0 else ("number", -1 - one)
                for one in line.operands
            ]
            flat.append((line, place[line.to], found))
        for k in late:
            code = self.codes[self.outputs[k]]
            flat.append((Line("copy", "copy", code, code, -1, []), ("out", k), [place[self.outputs[k]]]))
        once: list[tuple[Line, Place, list[Place | None]]] = []
        for number, value in self.once.items():
            code = self.numbers[number]
            once.append((Line("fill", "fill", code, code, value, []), place[value], [("number", number)]))
        return self.program(once, flat, slots)

    def direct(self, k: int, value: int, last: dict[int, int]) -> bool:
        """Whether output k can be written where it is made: nobody reads the input of its place from then on."""
        made = next(at for at, line in enumerate(self.lines) if line.to == value)
        reads = last.get(self.own[k], -1)
        return self.lines[made].over if reads == made else reads < made

    def program(self, once: list[Any], lines: list[Any], slots: int) -> Any:
        outs = [self.inputs[place] for place in self.own]
        first = {"in": 0, "out": len(self.inputs)}
        first["slot"] = first["out"] + len(outs)
        first["number"] = first["slot"] + slots

        def flat(line: Line, to: Place, found: list[Place | None]) -> tuple[Any, ...]:
            places = [-1 if one is None else first[one[0]] + one[1] for one in (to, *found)]
            return line.kind, line.name, line.code, line.result, places + [-1] * (6 - len(places)), line.mode

        widest = max([SIZES.get(one, 2) for one in self.codes])
        return K.Program(
            self.inputs, outs, slots, widest, self.numbers, [flat(*one) for one in once],
            [flat(*one) for one in lines], self.unchanged,
        )  # fmt: skip
