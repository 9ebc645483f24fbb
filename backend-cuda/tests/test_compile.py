"""Every kernel, hand-written and generated, compiles for every target with NVRTC: no GPU is needed."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))

import nvrtc
from mlcore_cuda.dialect import DIALECT
from mlcore_cupy import every
from mlcore_cupy.source import ELEMENTS, FILES

import mlcore.optim  # noqa: F401  (declares the optimizers' steps)

why = nvrtc.missing()
pytestmark = pytest.mark.skipif(bool(why) and not nvrtc.required(), reason=f"cannot compile: {why}")


@pytest.mark.parametrize("target", nvrtc.TARGETS)
def test_every_kernel_compiles(target: int, record_property: pytest.Function) -> None:
    assert not why, why
    started = time.perf_counter()
    groups = list(every.groups(DIALECT))
    sizes = nvrtc.compile_all([text for text, _, _ in groups], target)
    assert len(sizes) == len(groups)
    assert all(size > 1000 for size in sizes)
    count = sum(number for _, _, number in groups)
    assert count > 1900
    assert len(groups) > len(FILES) * len(ELEMENTS)
    seconds = time.perf_counter() - started
    print(f"sm_{target}: {count} kernels in {len(groups)} modules, {sum(sizes):,} bytes, {seconds:.0f} s,"
          f" NVRTC {nvrtc.version()}")  # fmt: skip


def test_a_mistake_is_refused_and_its_line_is_named() -> None:
    assert not why, why
    with pytest.raises(AssertionError, match=r"kernel\.cu\(2\): error"):
        nvrtc.compile_for('extern "C" __global__ void k(float* y)\n{ y[0] = tanhq(1.0f); }', 80)
