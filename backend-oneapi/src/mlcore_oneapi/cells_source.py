"""OpenCL C of one step of an LSTM, forward and backward, after (before) its matrix product."""

from __future__ import annotations

from typing import Final

from mlcore_oneapi.products_source import header, words

GROUP: Final = 64
CELL: Final = (
    "count",
    "hidden",
    "in_at",
    "z_at",
    "old_at",
    "gates_at",
    "cells_at",
    "y_at",
    "last_at",
    "flags",
)
"""`flags`: 1 there is an old cell, 2 this is the last step; the gradient: 1 an old cell, 2 the first step back."""

_EACH: Final = f"""\
__kernel __attribute__((reqd_work_group_size({GROUP}, 1, 1)))
void {{name}}({{params}}, const Numbers w) {{{{
{{words}}
  const int H = (int)hidden;
  for (long k = get_global_id(0); k < count; k += get_global_size(0)) {{{{
    const int row = (int)k / H, at = row * 4 * H + ((int)k - row * H);
{{body}}
  }}}}
}}}}
"""


def _kernel(double: bool, name: str, params: str, body: str) -> str:
    return header(double) + _EACH.format(name=name, params=params, words=words(CELL), body=body)


def lstm_cell(double: bool) -> str:
    """From what the input and the state give to the gates: the gates, the cell and the state of one step."""
    params = (
        "__global const T* restrict X, __global const T* restrict Z, __global const T* C, __global T* restrict G,"
        " __global T* D, __global T* restrict Y"
    )
    return _kernel(
        double,
        "lstm_cell",
        params,
        """
    __global const T *x = X + in_at + at, *z = Z + z_at + at;
    const T i = 1 / (1 + exp(-(x[0] + z[0]))), f = 1 / (1 + exp(-(x[H] + z[H])));
    const T g = tanh(x[2 * H] + z[2 * H]), o = 1 / (1 + exp(-(x[3 * H] + z[3 * H])));
    const T old = flags & 1 ? C[old_at + k] : 0, c = f * old + i * g;
    __global T* gates = G + gates_at + at;
    gates[0] = i;
    gates[H] = f;
    gates[2 * H] = g;
    gates[3 * H] = o;
    D[cells_at + k] = c;
    Y[y_at + k] = o * tanh(c);
    if (flags & 2) Y[last_at + k] = c;""",
    )


def lstm_cell_grad(double: bool) -> str:
    """From the gradients of a step's state and cell: what goes into the gates, and the cell before, kept in D. Z is
    the gradient that came through the next step's product."""
    params = (
        "__global const T* restrict X, __global const T* restrict Z, __global const T* C,"
        " __global const T* restrict G, __global T* restrict D, __global T* restrict Y"
    )
    return _kernel(
        double,
        "lstm_cell_grad",
        params,
        """
    __global const T* gates = G + gates_at + at;
    const T i = gates[0], f = gates[H], g = gates[2 * H], o = gates[3 * H];
    const T top = tanh(C[cells_at + k]), old = flags & 1 ? C[old_at + k] : 0;
    const T gh = X[in_at + k] + (flags & 2 ? 0 : Z[z_at + k]);
    const T gc = (flags & 2 ? X[last_at + k] : D[k]) + gh * o * (1 - top * top);
    __global T* inner = Y + y_at + at;
    inner[0] = gc * g * (i * (1 - i));
    inner[H] = flags & 1 ? gc * old * (f * (1 - f)) : f * 0;
    inner[2 * H] = gc * i * (1 - g * g);
    inner[3 * H] = gh * top * (o * (1 - o));
    D[k] = gc * f;""",
    )
