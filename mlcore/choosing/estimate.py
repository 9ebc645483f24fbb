"""What a workload takes on a device, by the device's measured profile."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from mlcore.backends.profile import Profile
from mlcore.choosing.workload import Workload

SLOW_GFLOPS = 0.5  # where a device has no matrix product of its own, or nobody measured it
SLOW_LAUNCH = 1e-3


@dataclass(frozen=True, slots=True)
class Estimate:
    """Seconds of one step by their cause, and of sending the parameters once.

    What a kernel computes and what it moves overlap: `overlapped` is the larger of both, summed over the kernels.
    """

    compute: float
    traffic: float
    overlapped: float
    launch: float
    transfer: float
    sending: float

    @property
    def step(self) -> float:
        """Seconds of one step."""
        return self.overlapped + self.launch + self.transfer


def rate(gemm: Mapping[str, float], flops: int) -> float:
    """FLOP/s in a matrix product of `flops`, between the measured sizes by a power law, beyond them as at the last.

    >>> rate({"64": 10.0, "256": 40.0}, 2 * 64**3) / 1e9, round(rate({"64": 10.0, "256": 40.0}, 2 * 128**3) / 1e9, 3)
    (10.0, 20.0)
    """
    known = sorted((2 * int(size) ** 3, found * 1e9) for size, found in gemm.items())
    if not known:
        return SLOW_GFLOPS * 1e9
    if flops <= known[0][0]:
        return known[0][1]
    for (low, slow), (high, fast) in pairwise(known):
        if flops <= high:
            share = math.log(flops / low) / math.log(high / low)
            return float(slow * (fast / slow) ** share)
    return known[-1][1]


def estimate(work: Workload, profile: Profile) -> Estimate:
    """The seconds of `work` on a device of this profile, by the roofline of each of its operations."""
    fused = None if profile.fused is None else frozenset(profile.fused)
    bandwidth = profile.bandwidth * 1e9 if profile.bandwidth else 1e9
    compute = traffic = overlapped = 0.0
    kernels = 0
    for call in work.calls:
        computing = call.flops / rate(profile.gemm, call.flops) if call.flops else 0.0
        moving = call.traffic(fused) / bandwidth
        compute += computing
        traffic += moving
        overlapped += max(computing, moving)
        kernels += call.kernels(fused)
    known = profile.queued if profile.queued is not None else profile.launch
    launch = SLOW_LAUNCH if known is None else known
    down = 4 if work.training else work.output_bytes  # of a training step, the loss comes back
    waits = 0.0 if profile.queued is None or profile.launch is None else profile.launch
    return Estimate(
        compute * work.passes,
        traffic * work.passes,
        overlapped * work.passes,
        kernels * work.passes * launch + waits,
        work.input_bytes / (profile.upload * 1e9) + down / (profile.download * 1e9),
        (work.parameter_bytes + work.buffer_bytes) / (profile.upload * 1e9),
    )
