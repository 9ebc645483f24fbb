"""The kit is held against backends that are known to be wrong: each planted fault must be caught."""

from __future__ import annotations

import faults_of_backends
import faults_of_networks  # noqa: F401  (its faults are in FAULTS)
import faults_of_ops  # noqa: F401
import pytest
from faulty import FAULTS, RUNNING, Fault, device_of

from mlcore.backends.reference import ReferenceBackend
from mlcore.testing.kit import Kit
from mlcore.testing.units import Result

caught: dict[str, str] = {}


def units(kit: Kit, at: str) -> list[object]:
    """The units that look at the place of a fault."""
    found = [unit for unit in kit.units if unit.op == at or unit.id == at]
    assert found, f"no unit looks at {at}"
    return found


def first_failure(fault: Fault) -> Result | None:
    """What the kit says about a faulty device, as soon as it says something."""
    with fault.plant() as device:
        RUNNING.append(device)
        try:
            kit = Kit(device, quick=True)
            for unit in units(kit, fault.at):
                result = kit.run_one(unit)
                if result.outcome == "failed":
                    return result
        finally:
            RUNNING.pop()
    return None


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_planted_fault_is_caught(fault: Fault) -> None:
    result = first_failure(fault)
    assert result is not None, f"{fault.name}: every unit at {fault.at} passed"
    caught[fault.name] = result.id


def test_the_same_units_pass_without_a_fault() -> None:
    kit = Kit(device_of(ReferenceBackend), quick=True)
    for at in dict.fromkeys(fault.at for fault in FAULTS):
        for unit in units(kit, at):
            result = kit.run_one(unit)
            assert result.outcome in ("passed", "skipped"), f"{result.id}: {result.reason}"


def test_a_device_that_says_that_it_flushes_subnormals_is_held_to_that() -> None:
    honest, silent = (
        Kit(device_of(kind)) for kind in (faults_of_backends.SaysSo, faults_of_backends.Flushing)
    )
    names = (
        "device/subnormals/float32",
        *(f"special/{op}/float32" for op in ("minimum", "greater", "multiply")),
    )
    for name in names:
        outcomes = [kit.run_one(unit).outcome for kit in (honest, silent) for unit in kit.select(name)]
        assert outcomes == ["passed", "failed"], name


def test_how_many_were_caught(capsys: pytest.CaptureFixture[str]) -> None:
    for fault in FAULTS:
        if fault.name not in caught:
            found = first_failure(fault)
            if found is not None:
                caught[fault.name] = found.id
    with capsys.disabled():
        print(f"\n{len(caught)} of {len(FAULTS)} caught")
    assert len(FAULTS) >= 25
    assert set(caught) == {fault.name for fault in FAULTS}
