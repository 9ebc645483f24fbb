"""Which CuPy is installed, read from the metadata's folder names: no import. For the light plugins of both backends."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from mlcore.plugin import Probe

KINDS: Final = {"cuda": "NVIDIA's CUDA", "rocm": "AMD's ROCm"}


@dataclass(frozen=True, slots=True)
class Distribution:
    """A distribution that installs the package `cupy`."""

    name: str
    version: str

    @property
    def kind(self) -> str:
        """cuda, rocm, or '' for one that was built from source.

        >>> Distribution("cupy-cuda13x", "14.2.0").kind, Distribution("cupy-rocm-7-0", "14.2.0").kind
        ('cuda', 'rocm')
        """
        return next((kind for kind in KINDS if self.name.startswith(f"cupy-{kind}")), "")

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def distributions(folders: Sequence[str] | None = None) -> list[Distribution]:
    """All that are installed; every one of them installs the same package.

    >>> distributions(["/no/such/folder"])
    []
    """
    found: dict[str, Distribution] = {}
    for folder in sys.path if folders is None else folders:
        for path in sorted(glob.glob(os.path.join(glob.escape(folder or "."), "cupy*.dist-info"))):
            name, _, version = os.path.basename(path).removesuffix(".dist-info").partition("-")
            name = name.replace("_", "-").lower()
            if name == "cupy" or name.startswith(("cupy-cuda", "cupy-rocm")):
                found.setdefault(name, Distribution(name, version))
    return list(found.values())


def choose(kind: str, found: Sequence[Distribution], extras: str) -> Distribution | Probe:
    """The CuPy for one kind of GPU, or why there is none: `extras` is what to install."""
    ours = [one for one in found if one.kind in (kind, "")]
    others = [one for one in found if one.kind not in (kind, "")]
    install = f"pip install '{extras}'"
    if ours and others:
        return Probe(
            "broken",
            reason=f"{ours[0]} and {others[0]} are both installed, and both install the package 'cupy':"
            " one has overwritten files of the other",
            fix=f"pip uninstall -y {ours[0].name} {others[0].name}, then {install} in an environment of its own",
        )
    if others:
        return Probe.missing_dependency(
            f"CuPy for {KINDS[kind]} is not installed, but {others[0]}, which is for {KINDS[others[0].kind]} and"
            " installs the same package 'cupy'",
            fix=f"use an environment of its own: {install}; or here: pip uninstall -y {others[0].name}, then that",
        )
    if not ours:
        return Probe.missing_dependency(f"CuPy for {KINDS[kind]} is not installed", fix=install)
    if len(ours) > 1:
        names = " ".join(one.name for one in ours)
        return Probe(
            "broken",
            reason=f"{' and '.join(map(str, ours))} are both installed, and both install the package 'cupy'",
            fix=f"pip uninstall -y {names}, then {install}",
        )
    return ours[0]


def visible(variable: str, value: str | None, count: int, uuids: Sequence[str] = ()) -> list[int] | str:
    """The places of the devices that a vendor's variable leaves visible, in its order, or why there are none.

    >>> visible("CUDA_VISIBLE_DEVICES", "1,0", 2), visible("CUDA_VISIBLE_DEVICES", None, 2)
    ([1, 0], [0, 1])
    >>> visible("CUDA_VISIBLE_DEVICES", "", 2)
    "CUDA_VISIBLE_DEVICES='' hides all devices"
    """
    if value is None:
        return list(range(count))
    found: list[int] = []
    for one in (part.strip() for part in value.split(",")):
        place = _place(one, count, uuids)
        if place is None or place in found:  # as the driver does: the list ends at what it does not know
            break
        found.append(place)
    return found or f"{variable}={value!r} hides all devices"


def _place(one: str, count: int, uuids: Sequence[str]) -> int | None:
    if one.isdecimal():
        return int(one) if int(one) < count else None
    matches = [i for i, uuid in enumerate(uuids) if one and uuid.startswith(one)]
    return matches[0] if len(matches) == 1 else None
