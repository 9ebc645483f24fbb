"""OpenCL C of optimizer steps and dropout: one pass over a parameter and its states."""

from __future__ import annotations

from typing import Final

from mlcore_oneapi.products_source import header

GROUP: Final = 256
_NAMES: Final = ("n", "p_at", "g_at", "m_at", "v_at", "mode")


def _kernel(double: bool, name: str, params: str, reals: tuple[str, ...], body: str, flags: int = 0) -> str:
    bits = "as_double((ulong)w.v[{}])" if double else "as_float((uint)w.v[{}])"
    whole = "\n".join(f"  const long {one} = w.v[{i}];" for i, one in enumerate(_NAMES))
    parts = "\n".join(f"  const T {one} = {bits.format(len(_NAMES) + i)};" for i, one in enumerate(reals))
    return f"""{header(double)}
#pragma OPENCL FP_CONTRACT OFF
__kernel __attribute__((reqd_work_group_size({GROUP}, 1, 1)))
void {name}({params}, const Numbers w) {{
{whole}
{parts}
  const long groups = get_num_groups(0), block = (n + groups * {GROUP} - 1) / (groups * {GROUP}) * {GROUP};
  const long from = get_group_id(0) * block, to = min(from + block, n);
  for (long i = from + get_local_id(0); i < to; i += {GROUP}) {{
{body}
  }}
}}
"""


def _params(inputs: str, outputs: str) -> str:
    return ", ".join(
        [
            *(f"__global const T* restrict {one}" for one in inputs),
            *(f"__global T* restrict {one}2" for one in outputs),
        ]
    )


ADAM: Final = ("kept", "decay", "beta1", "rest1", "beta2", "rest2", "root", "eps", "rate")


def adam_step(double: bool) -> str:
    """`mode` 1: the weights themselves decay, by `kept`; else the gradient gets `decay` of them."""
    return _kernel(
        double,
        "adam_step",
        _params("PGMV", "PMV"),
        ADAM,
        """
    T p = P[p_at + i], g = G[g_at + i];
    if (mode == 1) p = p * kept;
    else if (mode == 2) g = g + p * decay;
    const T m = M[m_at + i] * beta1 + g * rest1, v = V[v_at + i] * beta2 + g * g * rest2;
    const T scale = sqrt(v) / root + eps;
    P2[i] = p - m * rate / scale;
    M2[i] = m;
    V2[i] = v;""",
    )


MOMENTUM: Final = ("decay", "momentum", "rest", "rate")


def sgd_momentum_step(double: bool) -> str:
    """`mode`: 1 decay, 2 the first step, 4 Nesterov's."""
    return _kernel(
        double,
        "sgd_momentum_step",
        _params("PGM", "PM"),
        MOMENTUM,
        """
    const T p = P[p_at + i];
    T g = G[g_at + i];
    if (mode & 1) g = g + p * decay;
    const T b = mode & 2 ? g : M[m_at + i] * momentum + g * rest;
    const T step = mode & 4 ? g + b * momentum : b;
    P2[i] = p - step * rate;
    M2[i] = b;""",
    )


SGD: Final = ("decay", "rate")


def sgd_step(double: bool) -> str:
    """`mode` 1: with decay."""
    return _kernel(
        double,
        "sgd_step",
        _params("PG", "P"),
        SGD,
        """
    const T p = P[p_at + i];
    T g = G[g_at + i];
    if (mode) g = g + p * decay;
    P2[i] = p - g * rate;""",
    )


def dropout_mask(double: bool) -> str:
    """Threefry-2x32 (Salmon et al. 2011): the words are n, the place of x, both halves of the key (in g_at and m_at),
    the first counter (v_at), and the least of 24 bits that keeps an element (mode)."""
    turns = ((13, 15, 26, 6), (17, 29, 16, 24))
    rounds = [
        "const uint k0 = (uint)g_at, k1 = (uint)m_at, k2 = k0 ^ k1 ^ 0x1BD11BDAu;",
        "const ulong counter = (ulong)v_at + (ulong)i;",
        "uint a = (uint)(counter >> 32) + k0, b = (uint)counter + k1;",
    ]
    for block in range(5):
        rounds += [f"a += b; b = rotate(b, {turn}u) ^ a;" for turn in turns[block % 2]]
        rounds.append(f"a += k{(block + 1) % 3}; b += k{(block + 2) % 3} + {block + 1}u;")
    rounds.append("P2[i] = (long)((a ^ b) >> 8) >= mode ? P[p_at + i] * scale : 0;")
    return _kernel(
        double, "dropout_mask", _params("P", "P"), ("scale",), "\n".join(f"    {one}" for one in rounds)
    )
