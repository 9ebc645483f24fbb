"""The light object that mlcore finds: it knows this processor and how to open the backend, and imports no kernels."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlcore import config
from mlcore.plugin import BackendPlugin, DeviceInfo, Probe, probes
from mlcore.plugin.api import ProbeContext

if TYPE_CHECKING:
    from mlcore.backends.protocol import Backend, Device

ISA = config.declare(
    config.Variable[str | None](
        "MLCORE_CPU_ISA", None, str, "instruction set of the CPU kernels; the best one by default",
        ("v2", "v3", "v4", "generic"), owner="mlcore-cpu",
    )
)  # fmt: skip
ONEDNN = config.declare(
    config.Variable(
        "MLCORE_CPU_ONEDNN",
        True,
        config.as_bool,
        "0: convolutions without oneDNN",
        owner="mlcore-cpu",
    )
)
MEMORY_LIMIT = config.declare(
    config.Variable[int | None](
        "MLCORE_CPU_MEMORY_LIMIT",
        None,
        config.as_positive_int,
        "bytes that results on the CPU may occupy",
        owner="mlcore-cpu",
    )
)

POISON = config.declare(
    config.Variable(
        "MLCORE_CPU_POISON", False, config.as_bool, "1, for tests: memory is full of NaN when a kernel gets it",
        owner="mlcore-cpu",
    )
)  # fmt: skip


class CpuPlugin(BackendPlugin):
    """The processor this process runs on, as one device."""

    name, api, rank = "cpu", "1.0", 100
    kind = "cpu"
    dialect = "mlcore_cpu.dialect:DIALECT"

    def probe(self, ctx: ProbeContext) -> Probe:
        """Always ready where the extension was built: facts from the system, no kernel is loaded."""
        if not any(Path(__file__).parent.glob("_kernels.*.so")) and not any(
            Path(__file__).parent.glob("_kernels.*.pyd")
        ):
            return Probe.missing_dependency(
                "the compiled kernels of mlcore-cpu are missing",
                fix="pip install mlcore-cpu, or in a checkout pip install -e backend-cpu",
            )
        threads = ctx.env.get("MLCORE_NUM_THREADS") or str(probes.processor_count())
        details = {"threads": threads, "isa": ctx.env.get("MLCORE_CPU_ISA") or best_isa()}
        info = DeviceInfo(
            id="cpu:0",
            name=probes.processor_name(),
            kind="cpu",
            arch=os.uname().machine if hasattr(os, "uname") else "",
            memory=_memory(),
            details=details,
        )
        return Probe.ready([info])

    def open(self, device: Device, options: Mapping[str, str]) -> Backend:
        """The backend; this loads the kernels."""
        from mlcore_cpu.backend import CpuBackend

        return CpuBackend(device, options)


def best_isa() -> str:
    """The instruction set that the kernels will choose, read from the system's flags.

    >>> best_isa() in ("v2", "v3", "v4", "generic")
    True
    """
    if not hasattr(os, "uname") or os.uname().machine != "x86_64":
        return "generic"
    try:
        text = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        return "v2"
    flags = set(text.partition("flags")[2].partition("\n")[0].split())
    if {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"} <= flags:
        return "v4"
    return "v3" if {"avx2", "fma", "bmi1", "bmi2"} <= flags else "v2"


def _memory() -> int | None:
    from mlcore.backends.reference import physical_memory

    return physical_memory()


plugin: Any = CpuPlugin()
