"""The dialect of CUDA C++ and of HIP, which kernels do not tell apart: what mlcore.codegen writes in."""

from __future__ import annotations

from typing import Final

from mlcore.codegen import Dialect

TYPES: Final = {
    "bool": "bool", "int8": "signed char", "int16": "short", "int32": "int", "int64": "long long",
    "uint8": "unsigned char", "uint16": "unsigned short", "uint32": "unsigned int", "uint64": "unsigned long long",
    "float16": "unsigned short", "bfloat16": "unsigned short", "float32": "float", "float64": "double",
}  # fmt: skip

_PRELUDE: Final = """\
#if defined(MLCORE_EMULATED)
#include "emulator.h"
#elif defined(__HIP__) && !defined(__HIPCC_RTC__)
#include <hip/hip_runtime.h>
#endif"""

_KERNEL: Final = 'extern "C" __global__ void {name}({params})\n{{\n{body}\n}}'
_GROUP: Final = 'extern "C" __global__ void __launch_bounds__({group}) {name}({params})\n{{\n{body}\n}}'


def dialect(name: str, suffix: str) -> Dialect:
    """The dialect under a name.

    >>> dialect("cuda", ".cu").has("bfloat16"), dialect("hip", ".hip").has("complex64")
    (True, False)
    """
    return Dialect(
        name,
        TYPES,
        launch=_KERNEL,
        group_launch=_GROUP,
        buffer="{const}{type}* {name}",
        words="const {type} {name}",
        global_id="((long long)blockIdx.x * blockDim.x + threadIdx.x)",
        global_size="((long long)gridDim.x * blockDim.x)",
        local_id="threadIdx.x",
        group_id="(long long)blockIdx.x",
        groups="(long long)gridDim.x",
        barrier="__syncthreads();",
        local="__shared__ {type} {name}[{size}];",
        function="static __device__ __forceinline__ {text}",
        as_bits={
            "float32": "__float_as_uint({v})", "uint32": "__uint_as_float({v})",
            "float64": "(unsigned long long)__double_as_longlong({v})",
            "uint64": "__longlong_as_double((long long)({v}))",
        },
        wide="LL",
        prelude=_PRELUDE,
        suffix=suffix,
    )  # fmt: skip
