"""Names and slots while a graph is made ready: what is known of each, and what a body takes from around it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlcore_onnx.load_file import Source
from mlcore_onnx.load_plan import Constant, Held, Plan


class Scope:
    """The names of one graph, branch or function, and the plan that is being made of it."""

    def __init__(
        self, source: Source, plan: Plan, opsets: dict[str, int], around: Scope | None = None,
        given: dict[str, Any] | None = None, active: tuple[Any, ...] = (),
    ) -> None:  # fmt: skip
        self.source = source
        self.plan = plan
        self.opsets = opsets
        self.around = around
        self.given = given  # the attributes that a function was called with; None outside of functions
        self.active = active  # the functions whose bodies this is inside of
        self.depth: int = around.depth + 1 if around is not None else 0
        self.names: dict[str, int] = {}
        self.constants: dict[int, Constant] = {}
        self.hold: Callable[[str, Any, bool], Held | None] | None = around.hold if around else None
        self.held: list[tuple[int, Held]] = []  # of the root: its slots that the module fills before each run

    def define(self, name: str, label: str) -> int:
        """A slot for a value that is made here."""
        if name in self.names:
            raise self.source.bad(
                f"{label} makes {name!r}, which is made already",
                cause="a name stands for one value",
                node=label,
            )
        self.names[name] = found = self.plan.slot()
        return found

    def constant(self, name: str, constant: Constant, label: str) -> None:
        """A value that is known now."""
        place = self.define(name, label)
        self.constants[place] = constant
        self.plan.constants.append((place, constant))

    def held_value(self, name: str, held: Held, label: str) -> None:
        """A value that the module holds: it lies in a slot of the root, wherever the file has it."""
        root = self.root
        if root is self:
            root.held.append((self.define(name, label), held))
            return
        hidden = f"{name}\0{len(root.held)}"
        root.held.append((root.define(hidden, label), held))
        found = self.find(hidden)
        if found is None or name in self.names:
            raise self.source.bad(f"{name!r} is there twice ({label})")
        self.names[name] = found

    def find(self, name: str) -> int | None:
        """The slot of a name, taken in from around where it is not of here."""
        place = self.names.get(name)
        if place is not None or self.around is None:
            return place
        outer = self.around.find(name)
        if outer is None:
            return None
        self.names[name] = place = self.plan.slot()
        known = self.around.constants.get(outer)
        if known is not None:
            self.constants[place] = known
            self.plan.constants.append((place, known))
        else:
            self.plan.captures.append((outer, place))
        return place

    def apart(self) -> Scope:
        """What is needed of this scope after the model has been loaded: nothing that holds its message."""
        from mlcore_onnx.load_function import Functions

        source = Source(None, self.source.name, None, True)
        source.functions = Functions(source)
        return Scope(source, Plan(""), dict(self.opsets), active=self.active)

    @property
    def root(self) -> Scope:
        """The outermost scope."""
        return self if self.around is None else self.around.root
