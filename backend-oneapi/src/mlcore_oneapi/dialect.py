"""OpenCL C as a dialect of mlcore's kernel generator, for what a device can do."""

from __future__ import annotations

from typing import Final

from mlcore.codegen import Dialect

GROUP: Final = 64  # work-items of a group whose items work alone

TYPES: Final = {
    "bool": "uchar", "int8": "char", "int16": "short", "int32": "int", "int64": "long", "uint8": "uchar",
    "uint16": "ushort", "uint32": "uint", "uint64": "ulong", "float16": "ushort", "bfloat16": "ushort",
    "float32": "float", "float64": "double",
}  # fmt: skip

# No contraction: the same bits as an operation by itself. PoCL's tanh ends an ulp before 1.
PRELUDE: Final = """\
#pragma OPENCL FP_CONTRACT OFF
#define ml_tanh(x) (fabs(x) > 20 ? ((x) > 0 ? 1 : -1) : tanh(x))"""


def opencl(*, fp64: bool = True, group: int = 64, tile: int = 8) -> Dialect:
    """OpenCL C; float64 only where the device has it. float16 is stored by the language's own conversions, which
    need no extension, and computed in float32.

    >>> opencl(fp64=False).has("float64"), opencl().has("float16")
    (False, True)
    """
    types = dict(TYPES)
    if not fp64:
        del types["float64"]
    return Dialect(
        name="opencl",
        types=types,
        launch=f"__kernel __attribute__((reqd_work_group_size({GROUP}, 1, 1)))\n"
        "void {name}({params}) {{\n{body}\n}}",
        group_launch="__kernel __attribute__((reqd_work_group_size({group}, 1, 1)))\n"
        "void {name}({params}) {{\n{body}\n}}",
        buffer="__global {const}{type}* restrict {name}",
        words="const {type} {name}",
        global_id="(long)get_global_id(0)",
        global_size="(long)get_global_size(0)",
        local_id="(long)get_local_id(0)",
        group_id="(long)get_group_id(0)",
        groups="(long)get_num_groups(0)",
        barrier="barrier(CLK_LOCAL_MEM_FENCE);",
        local="__local {type} {name}[{size}];",
        function="{text}",
        pointer="__global {const}{type}* {name}",
        load={"float16": "vload_half({i}, (const __global half*){p})"},
        store={"float16": "vstore_half_rte({v}, {i}, (__global half*){p});"},
        extensions={"float64": "#pragma OPENCL EXTENSION cl_khr_fp64 : enable"},
        as_bits={
            "float32": "as_uint({v})", "uint32": "as_float({v})",
            "float64": "as_ulong({v})", "uint64": "as_double({v})",
        },
        functions={"tanh": "ml_tanh"},
        prelude=PRELUDE,
        suffix=".cl",
        group=group,
        tile=tile,
    )  # fmt: skip


OPENCL: Final = opencl()
