"""Compile Metal sources' bodies as C++ with `metal_shim.hpp`, and run them over NumPy arrays.

What MLX writes around a body is written here as MLX does it: the parameters from the arrays' names and dtypes, arrays
of fewer than 8 elements in `constant` memory, `template` arguments as names of types.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

TYPES = {
    "bool": "bool", "int8": "int8_t", "int16": "int16_t", "int32": "int32_t", "int64": "int64_t", "uint8": "uint8_t",
    "uint16": "uint16_t", "uint32": "uint32_t", "uint64": "uint64_t", "float16": "float16_t",
    "bfloat16": "bfloat16_t", "float32": "float",
}  # fmt: skip
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
HERE = Path(__file__).parent
WARNINGS = ("-Wall", "-Werror", "-Wno-unused-variable", "-Wno-unused-function", "-Wno-parentheses",
            "-Wno-bool-compare", "-Wno-sign-compare", "-Wno-unused-local-typedefs")  # fmt: skip


def compiler() -> list[str]:
    """The C++ compiler; in CI its absence is a failure, elsewhere a skip."""
    found = os.environ.get("CXX", "").split() or next(
        ([path] for name in ("g++", "clang++", "c++") if (path := shutil.which(name))), []
    )
    if not found:
        if os.environ.get("MLCORE_LEG"):
            pytest.fail("no C++ compiler to try the Metal sources with")
        pytest.skip("no C++ compiler")
    return found


@dataclass
class Launch:
    """A source with the arrays of one launch."""

    source: Any
    inputs: list[Any]
    outputs: list[Any]
    count: int
    template: dict[str, str] = field(default_factory=dict)

    @property
    def signature(self) -> str:
        """The parameters as MLX declares them."""
        params = []
        for name, array in zip(self.source.inputs, self.inputs, strict=True):
            space = "constant" if array.size < 8 else "device"
            params.append(f"const {space} {TYPES[array.dtype.name]}* {name}")
        for name, array in zip(self.source.outputs, self.outputs, strict=True):
            params.append(f"device {TYPES[array.dtype.name]}* {name}")
        return ", ".join([*params, "uint3 thread_position_in_grid", "uint3 threads_per_grid"])

    def text(self, number: int) -> str:
        """The kernel in a namespace of its own, and a loop that stands for the grid."""
        arrays = (*self.inputs, *self.outputs)
        casts = ", ".join(f"({TYPES[a.dtype.name]}*)arrays[{i}]" for i, a in enumerate(arrays))
        using = "\n".join(f"using {name} = {TYPES[value]};" for name, value in self.template.items())
        return f"""namespace k{number} {{
{self.source.header}
{using}
static void kernel({self.signature}) {{
{self.source.source}
}}
}}
extern "C" void launch_{number}(void** arrays, unsigned count) {{
    for (unsigned i = 0; i < count; ++i) k{number}::kernel({casts}, uint3{{i, 0, 0}}, uint3{{count, 1, 1}});
}}
"""


def run(launches: list[Launch], folder: Path) -> list[list[Any]]:
    """Compile all launches together, run each, and return its outputs."""
    text = '#include "metal_shim.hpp"\n' + "\n".join(one.text(i) for i, one in enumerate(launches))
    program = folder / "kernels.cpp"
    program.write_text(text)
    library = folder / "kernels.so"
    build = subprocess.run(
        [*compiler(), "-std=c++17", "-O1", "-ffp-contract=off", *WARNINGS, "-fPIC", "-shared", f"-I{HERE}",
         "-o", str(library), str(program)],
        capture_output=True, text=True,
    )  # fmt: skip
    assert build.returncode == 0, build.stderr
    loaded = ctypes.CDLL(str(library))
    for i, one in enumerate(launches):
        arrays = [*(np.ascontiguousarray(x) for x in one.inputs), *one.outputs]
        pointers = (ctypes.c_void_p * len(arrays))(*(x.ctypes.data for x in arrays))
        getattr(loaded, f"launch_{i}")(pointers, ctypes.c_uint(one.count))
    return [one.outputs for one in launches]


def check_syntax(text: str, folder: Path) -> None:
    """Have the compiler read a source."""
    program = folder / "source.cpp"
    program.write_text('#include "metal_shim.hpp"\n' + text)
    build = subprocess.run(
        [*compiler(), "-std=c++17", "-fsyntax-only", *WARNINGS, f"-I{HERE}", str(program)],
        capture_output=True,
        text=True,
    )
    assert build.returncode == 0, build.stderr[:4000]
