"""Capture and replay: the kernels of a step recorded once as a graph, and launched together from then on."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from mlcore.errors import DeviceError

if TYPE_CHECKING:
    from mlcore_cupy.backend import CupyBackend


class Capture:
    """What ran inside ``with backend.capture() as step:`` can be run again by ``step.replay()``.

    It replays the same kernels on the same memory: inputs are changed in place, results are read from the tensors
    that the block made. Run the block once before capturing, so that every kernel is compiled and no value has to
    come to the host: reading one inside the block is an error. Random numbers are those of the capture, every time.
    """

    def __init__(self, backend: CupyBackend) -> None:
        self.backend = backend
        self.graph: Any = None
        self._stack = ExitStack()
        self._held: list[Any] = []
        # Memory of its own: what the graph writes must not be given to anybody else between replays.
        self._pool = backend.runtime.cupy.cuda.MemoryPool()

    def __enter__(self) -> Capture:
        rt = self.backend.runtime
        if rt.cupy.cuda.runtime.is_hip:
            raise DeviceError(
                f"capture on {rt.owner}: CuPy records no graphs on ROCm", fix="run the step without capture"
            )
        rt.synchronize()
        self._stack.enter_context(rt.current())
        self._stack.enter_context(rt.cupy.cuda.using_allocator(self._pool.malloc))
        rt.stream.begin_capture()
        rt.held = self._held
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        rt = self.backend.runtime
        rt.held = None
        try:
            graph = rt.stream.end_capture()
        except Exception as failure:
            if error is None:
                raise DeviceError(
                    f"capture on {rt.owner} failed", cause=str(failure),
                    fix="run the block once before, and read no value inside it",
                ) from failure  # fmt: skip
            return
        finally:
            self._stack.close()
        if error is None:
            self.graph = graph

    def replay(self) -> None:
        """Launch what was captured; returns at once, as every kernel does."""
        if self.graph is None:
            raise DeviceError("nothing was captured", fix="use `with backend.capture() as step:` first")
        with self.backend.runtime.current():
            self.graph.launch(stream=self.backend.runtime.stream)
