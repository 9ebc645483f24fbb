"""From a recorded chain (mlcore.compile.chain) to a program: loops of the tables, over slots that stay in the L1 cache.

Values that the chain makes get a slot until their last use; a result goes to its output at once, where nobody reads
what may lie there any more. 16-bit floats are computed in float32 and rounded where they leave.
"""

from __future__ import annotations

from typing import Any

from mlcore_cpu.loader import kernels as K

BOOL, F16, BF16, F32, F64 = 0, 9, 10, 11, 12
SUPPORTED = (BOOL, F16, BF16, F32, F64)
SIZES = {BOOL: 1, F32: 4, F64: 8}
Place = tuple[str, int]  # ("in" | "out" | "slot" | "number", index)
Line = tuple[str, str, int, int, Place, list[Place], int]  # kind, name, code, result, to, from, mode


class Unfit(NotImplementedError):
    """A chain that this backend does not run: the reason."""


def program(chain: Any, own: tuple[int, ...]) -> Any:
    """The program of a chain whose output k may lie over input own[k], and over no other. Raises Unfit."""
    layout = _Layout(chain, own)
    try:
        return layout.made()
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
        self.codes: list[int] = []  # work dtype of each value here: those of the chain, and what is needed between
        self.lines: list[tuple[str, str, int, int, int, list[int], int]] = []  # operands: values, -1 - number
        self.at: dict[int, int] = {}  # the chain's value -> ours
        self.once: dict[int, int] = {}  # number -> the value that is a block of it
        self.unchanged = tuple(value == place for value, place in zip(chain.outputs, own, strict=True))
        self.outputs: list[int] = []  # our value of each output, of its storage dtype

    def value(self, code: int) -> int:
        self.codes.append(code)
        return len(self.codes) - 1

    def line(self, kind: str, name: str, code: int, result: int, operands: list[int], mode: int = 0) -> int:
        to = self.value(result)
        self.lines.append((kind, name, code, result, to, operands, mode))
        return to

    def block_of(self, number: int) -> int:
        """A number as a whole block."""
        if number not in self.once:
            self.once[number] = self.value(self.numbers[number])
        return self.once[number]

    # -- lines ----------------------------------------------------------------------------------------------------

    def write(self) -> None:
        chain = self.chain
        needed = set(chain.outputs)
        first = len(chain.inputs)
        for i in range(len(chain.steps) - 1, -1, -1):
            if first + i in needed:
                needed.update(chain.steps[i][3])
        for i, code in enumerate(self.inputs):
            self.at[i] = self.value(code)
        for i, code in enumerate(self.inputs):
            if i in needed and code in (F16, BF16):
                self.at[i] = self.line("cast", "cast", code, F32, [i])
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
        codes = [self.codes[one] if one >= 0 else self.numbers[-1 - one] for one in given]
        if op.name == "astype":
            made = self.full(given[0])
            if codes[0] != result:
                made = self.line("cast", "cast", codes[0], result, [made])
            if dtype in (F16, BF16):  # asked for: rounded here, too
                made = self.line("cast", "cast", F32, dtype, [made])
                made = self.line("cast", "cast", dtype, F32, [made])
            return made
        if op.name == "where":
            return self.line("select", "where", result, result, [self.full(one) for one in given])
        name = "_".join([op.name, *map(str, more)])
        if len(given) == 1:
            return self.line("unary", name, codes[0], result, [self.full(given[0])])
        if given[0] < 0 and given[1] < 0:
            given[0] = self.full(given[0])
        mode = 1 if given[0] < 0 else 2 if given[1] < 0 else 0
        return self.line("binary", name, codes[0], result, given, mode)

    def full(self, value: int) -> int:
        return value if value >= 0 else self.block_of(-1 - value)

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

    # -- places ---------------------------------------------------------------------------------------------------

    def made(self) -> Any:
        self.write()
        last = {value: at for at, line in enumerate(self.lines) for value in line[5] if value >= 0}
        end = len(self.lines)
        place: dict[int, Place] = {i: ("in", i) for i in range(len(self.inputs))}
        after: list[tuple[str, str, int, int, Place, list[Place], int]] = []
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
        for k, value in enumerate(self.outputs):
            if value >= 0 and not self.direct(k, value, last):
                after.append(("copy", "copy", self.codes[value], self.codes[value], ("out", k), [], 0))
                last[value] = end + len(after)
        lines: list[Line] = []
        for at, (kind, name, code, result, to, operands, mode) in enumerate(self.lines):
            over = kind == "binary" and code == result and K.chain_lies_over(name, code)
            done = [one for one in dict.fromkeys(operands) if one >= 0 and last[one] == at and place[one][0] == "slot"]
            if over:
                free += [place[one] for one in done]
            if to in self.outputs and self.direct(self.outputs.index(to), to, last):
                place[to] = "out", self.outputs.index(to)
            else:
                place[to] = slot()
            if not over:
                free += [place[one] for one in done]
            found: list[Place] = [place[one] if one >= 0 else ("number", -1 - one) for one in operands]
            lines.append((kind, name, code, result, place[to], found, mode))
        for kind, name, code, result, to_place, _, mode in after:
            lines.append((kind, name, code, result, to_place, [place[self.outputs[to_place[1]]]], mode))
        once: list[Line] = [
            ("copy", "fill", self.numbers[number], self.numbers[number], place[value], [("number", number)], 1)
            for number, value in self.once.items()
        ]
        return self.program(once, lines, slots)

    def direct(self, k: int, value: int, last: dict[int, int]) -> bool:
        """Whether output k can be written where it is made: nobody reads the input of its place from then on."""
        made = next(at for at, line in enumerate(self.lines) if line[4] == value)
        kind, name, code, result, _, _, _ = self.lines[made]
        reads = last.get(self.own[k], -1)
        if reads == made:
            return kind == "binary" and code == result and bool(K.chain_lies_over(name, code))
        return reads < made

    def program(self, once: list[Line], lines: list[Line], slots: int) -> Any:
        outs = [self.inputs[place] for place in self.own]
        first = {"in": 0, "out": len(self.inputs)}
        first["slot"] = first["out"] + len(outs)
        first["number"] = first["slot"] + slots

        def flat(line: Line) -> tuple[Any, ...]:
            kind, name, code, result, to, found, mode = line
            places = [first[which] + i for which, i in (to, *found)]
            return (kind, name, code, result, *places, *[0] * (4 - len(places)), mode)

        widest = max([SIZES.get(one, 2) for one in self.codes])
        return K.Program(
            self.inputs, outs, slots, widest, self.numbers, [flat(one) for one in once],
            [flat(one) for one in lines], self.unchanged,
        )  # fmt: skip
