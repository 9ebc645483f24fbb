"""Sources become kernels: one call of the driver's compiler, whose result is kept on disk for the next process."""

from __future__ import annotations

import hashlib
import threading
import time
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import pyopencl as cl

from mlcore import config
from mlcore.backends.kernel_library import CompileError
from mlcore_oneapi.settings import BINARIES

FOLDER: Final = "oneapi/kernels"
PLAIN: Final = ("-cl-std=CL1.2",)


@dataclass(slots=True)
class Spent:
    """What compiling has cost: programs built from source and from binaries, and the seconds."""

    compiled: int = 0
    loaded: int = 0
    seconds: float = 0.0


class Compiler:
    """The compiler of one context. It may be called from several threads."""

    def __init__(
        self, context: Any, device: Any, options: Iterable[str] = PLAIN, *, keep: bool = True
    ) -> None:
        self.context, self.device = context, device
        self.options = tuple(options)
        self.spent = Spent()
        self.lock = threading.Lock()
        self.keep = keep and BINARIES.get()
        platform = device.platform
        self.identity = "\n".join(
            (
                platform.name,
                platform.version,
                device.name,
                device.version,
                device.driver_version,
                *self.options,
            )
        )

    def build(self, text: str) -> Any:
        """The program of a source. Raises CompileError with the compiler's log."""
        started = time.perf_counter()
        digest = hashlib.sha256("\n".join((self.identity, text)).encode()).hexdigest()
        name = f"{FOLDER}/{digest[:40]}.bin"
        binary = config.read_cache(name) if self.keep else None
        program = self._load(binary) if binary else None
        if program is None:
            program = self._compile(text)
            if self.keep:
                self._store(name, program)
            self.spent.compiled += 1
        else:
            self.spent.loaded += 1
        self.spent.seconds += time.perf_counter() - started
        return program

    def kernel(self, program: Any, name: str) -> Any:
        """A kernel object of a program; its arguments belong to whoever holds it."""
        return cl.Kernel(program, name)

    def _compile(self, text: str) -> Any:
        program = cl._cl._Program(self.context, text)
        try:
            program._build(" ".join(self.options).encode(), [self.device])
        except cl.Error as error:
            raise CompileError(self._log(program) or str(error)) from None
        log = self._log(program)
        if log and config.log.isEnabledFor(10):
            config.log.debug("log of the OpenCL compiler: %s", log)
        return program

    def _log(self, program: Any) -> str:
        try:
            return str(program.get_build_info(self.device, cl.program_build_info.LOG)).strip("\x00 \n")
        except cl.Error:
            return ""

    def _load(self, binary: bytes) -> Any | None:
        """The program of a kept binary; None where the driver does not take it any more."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                program = cl._cl._Program(self.context, [self.device], [binary])
                program._build(" ".join(self.options).encode(), [self.device])
        except cl.Error as error:
            config.log.debug("a kept kernel is compiled again: %s", error)
            return None
        return program

    def _store(self, name: str, program: Any) -> None:
        try:
            binary = program.get_info(cl.program_info.BINARIES)[0]
        except cl.Error as error:  # a driver may keep its binaries to itself
            config.log.debug("no binary of a kernel: %s", error)
            return
        if binary:
            config.write_cache(name, binary)
