"""What this machine can do at most, measured with the run; a row's floor is computed from it.

The arithmetic peak of a dtype is the best rate that any library here reaches in a large matrix product; the bandwidth
is that of a sum of two arrays, at sizes from the second-level cache to the main memory.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mlcore.bench.processes import Pool, WorkerError, installed
from mlcore.bench.rows import Work

DTYPES: Final = ("float32", "bfloat16", "float64", "int8")
PRODUCTS: Final = (1024, 2048)
SIZES: Final = tuple(768 * 1024 * 2**i for i in range(9))  # 768 KiB to 192 MiB
LIBRARIES: Final = ("mlcore", "torch", "onednn")


@dataclass(frozen=True)
class Peaks:
    """Operations a second by dtype, and bytes a second by working set.

    >>> peaks = Peaks({"float32": 4e11}, [(1e6, 1e11), (1e8, 2.5e10)])
    >>> peaks.floor(Work(4e11, 0.0, "float32")), round(peaks.bandwidth(1e7) / 1e9)
    (1.0, 50)
    """

    flops: Mapping[str, float]
    bandwidths: Sequence[tuple[float, float]]

    def bandwidth(self, size: float) -> float:
        """Between two measured sizes, on the line between their logarithms."""
        sizes = [at for at, _ in self.bandwidths]
        i = bisect.bisect_left(sizes, size)
        if i == 0 or i == len(sizes):
            return self.bandwidths[min(i, len(sizes) - 1)][1]
        (low, slow), (high, fast) = self.bandwidths[i - 1 : i + 1]
        part = math.log(size / low) / math.log(high / low)
        return math.exp((1 - part) * math.log(slow) + part * math.log(fast))

    def floor(self, work: Work) -> float | None:
        """Seconds that the work takes at least; None where a row declares none, or its peak was not measured."""
        kind = "float32" if work.kind == "vector" else work.kind
        if not (work.flops or work.bytes) or kind not in self.flops or not self.bandwidths:
            return None
        return max(
            work.flops / self.flops[kind], work.bytes / self.bandwidth(work.bytes) if work.bytes else 0.0
        )

    def raised(self, products: Iterable[tuple[str, float]], sums: Iterable[tuple[float, float]]) -> Peaks:
        """With the rates that were reached later in the run, where they are higher: of products by dtype, and of sums
        of arrays by bytes. A smaller working set is never slower than a larger one.

        >>> Peaks({"float32": 4e11}, [(1e6, 1e11)]).raised([("float32", 4.5e11), ("int8", 1e12)], [(1e7, 1.2e11)])
        Peaks(flops={'float32': 450000000000.0}, bandwidths=[(1000000.0, 120000000000.0), (10000000.0, 120000000000.0)])
        """
        flops = dict(self.flops)
        for kind, rate in products:
            if kind in flops:
                flops[kind] = max(flops[kind], rate)
        best = 0.0
        found = []
        seen = [(size, rate) for size, rate in sums if self.bandwidths and rate > self.bandwidth(size)]
        for size, rate in sorted([*self.bandwidths, *seen], reverse=True):
            best = max(best, rate)
            found.append((size, best))
        return Peaks(flops, found[::-1])

    def to_json(self) -> dict[str, Any]:
        """GFLOP/s and GB/s."""
        return {
            "GFLOP/s": {name: round(rate / 1e9, 1) for name, rate in self.flops.items()},
            "GB/s": {str(round(size)): round(rate / 1e9, 1) for size, rate in self.bandwidths},
        }


def measure(pool: Pool, dtypes: Sequence[str] = DTYPES) -> Peaks:
    """The best of what the libraries reach. What none can do is left out."""
    names = [name for name in LIBRARIES if installed(name)]
    flops = {
        kind: max(_best(pool, names, "product_rate", dtype=kind, size=size) for size in PRODUCTS)
        for kind in dtypes
    }
    bandwidths = [(float(size), _best(pool, names, "bandwidth", size=size)) for size in SIZES]
    return Peaks(
        {kind: rate for kind, rate in flops.items() if rate},
        [(size, rate) for size, rate in bandwidths if rate],
    )


def _best(pool: Pool, names: Sequence[str], what: str, **how: Any) -> float:
    found = [0.0]
    for name in names:
        try:
            found.append(pool[name].ask(what, **how))
        except WorkerError:  # no such product in that library
            continue
    return max(found)
