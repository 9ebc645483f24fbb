"""best_device: the device on which a model's step is fastest, or has the most room, and why."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from mlcore import config
from mlcore.backends import detect, profile
from mlcore.backends.ranking import Usable, ranked
from mlcore.choosing import trial
from mlcore.choosing.estimate import estimate
from mlcore.choosing.verdict import Candidate, Verdict, size
from mlcore.choosing.workload import Workload, unseen, workload
from mlcore.errors import ArgumentError, DeviceError, DTypeError, MlcoreError, PluginError, UnsupportedOpError

OBJECTIVES: Final = ("time", "memory")
WAYS: Final = ("auto", "measure", "estimate")
CLEAR: Final = 3.0  # how many times longer an estimate must be for nobody to try that device
_UNFIT: Final = (DeviceError, PluginError, UnsupportedOpError, DTypeError, MemoryError)


def best_device(
    model: Any,
    batch: Any,
    objective: str = "time",
    *,
    how: str = "auto",
    training: bool | None = None,
    loss: Callable[[Any, Any], Any] | None = None,
    devices: Sequence[str] | None = None,
    seconds: float = 1.0,
    dtype: Any = None,
) -> Verdict:
    """The usable device on which one step of `model` with `batch` is fastest (or, "memory": that has the most room).

    `batch` is a tensor, an array, a shape (of `dtype`), or a tuple of these, such as a loader gives: `forward` gets as
    many as it takes. A step is the forward pass and, in training (None: as the model is), the gradient of
    `loss(model, batch)`, by default of the squared outputs. `devices` limits the choice to some names.

    `how`: "estimate" works it out from the measured profiles (`mlcore devices --measure`); "measure" runs the step on
    each device for about `seconds`, on a copy, and remembers the result for this kind of model; "auto" estimates, and
    runs the step only on devices that come close. A device whose memory is too small is left out.

    Returns a Verdict: it may be given as a device, and as text it explains itself. Raises DeviceError where no device
    fits, ArgumentError for an objective that cannot be held against anything ("energy": nothing measures it),
    and what the model raises for a batch that it cannot take.

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> choice = ml.best_device(model, (16, 4), devices=["reference"])
    >>> print(choice.explain().splitlines()[0])
    best device for Sequential (time): reference, the only one
    >>> model.to(choice)[0].weight.device
    reference
    """
    _check(objective, how)
    try:
        work = workload(model, batch, training=training, loss=loss, dtype=dtype)
    except UnsupportedOpError:  # it branches on values: only a run tells
        if how == "estimate":
            raise
        work = unseen(model, batch, training, dtype)
    found = {usable.id: usable for usable in _usable(devices)}
    candidates = [_candidate(usable, work) for usable in found.values()]
    fitting = [one for one in candidates if not one.rejected]
    if objective == "memory":
        return _verdict(objective, work, candidates, _room, "it has the most memory left")
    if len(fitting) == 1:
        return _verdict(objective, work, candidates, _time, "the only one" + _that(candidates))
    if how != "measure":
        _estimate(candidates, found, work, alone=how == "estimate")
        left = [one for one in candidates if not one.rejected]
        if how == "estimate" or len(left) < 2 or not trial.has_values(model):
            known = any(one.seconds is not None for one in left)
            because = "estimated from its profile" if known else "by rank: nothing is measured (--measure)"
            return _verdict(objective, work, candidates, _time, because)
    for i, one in enumerate(candidates):
        if not one.rejected:
            candidates[i] = _tried(one, found[one.id], work, model, batch, seconds, loss, dtype)
    return _verdict(objective, work, candidates, _time, "measured")


def _check(objective: str, how: str) -> None:
    if objective == "energy":
        raise ArgumentError(
            "best_device: objective 'energy'",
            cause="no backend measures what its device draws, and a guess would not be honest",
            fix=f"use one of {', '.join(OBJECTIVES)}",
        )
    for name, value, known in (("objective", objective, OBJECTIVES), ("how", how, WAYS)):
        if value not in known:
            raise ArgumentError(f"best_device: {name}={value!r}", fix=f"use one of {', '.join(known)}")


def _usable(names: Sequence[str] | None) -> list[Usable]:
    """The devices to choose from. The reference is one only where it is named, or there is no other."""
    everything = ranked()[0]
    if names is None:
        return [one for one in everything if not one.record.builtin] or everything
    found = []
    for name in names:
        known = next((one for one in everything if name in (one.id, one.info.short)), None)
        if known is None:
            detect.resolve(name)  # says what is wrong with it
            raise DeviceError(f"best_device: {name!r} is no single device", fix="write names such as name:1")
        found.append(known)
    if not found:
        raise ArgumentError("best_device: devices is empty", fix="name some, or leave it out")
    return found


def _candidate(usable: Usable, work: Workload) -> Candidate:
    room = _memory(usable)
    one = Candidate(usable.id, usable.name, work.memory, room)
    if room is not None and work.memory > room:
        return one.rejecting(f"needs {size(work.memory)}, has {size(room)}")
    return one


def _memory(usable: Usable) -> int | None:
    """The bytes that are free there: of an open device as it says, else as the probe or the profile had it."""
    device = detect.opened(usable.id)
    if device is not None:
        stats = device.backend.memory_stats()
        if stats.limit is not None:
            return int(max(0, stats.limit - (stats.in_use or 0)))
    if usable.measured is not None and usable.measured.memory is not None:
        return usable.measured.memory
    return usable.info.memory


def _estimate(candidates: list[Candidate], found: dict[str, Usable], work: Workload, alone: bool) -> None:
    """Enter the estimates. `alone`: nothing is run afterwards, so what has no profile is out where others have one;
    otherwise devices that are clearly slower are."""
    for i, one in enumerate(candidates):
        measured = found[one.id].measured
        if measured is not None and work.calls:
            known = estimate(work, measured)
            candidates[i] = replace(one, estimated=known, seconds=known.step, how="estimated")
    times = [one.seconds for one in candidates if one.seconds is not None and not one.rejected]
    for i, one in enumerate(candidates):
        if one.rejected or not times:
            continue
        if one.seconds is None and alone:
            candidates[i] = one.rejecting("not measured: mlcore devices --measure")
        elif one.seconds is not None and not alone and one.seconds > CLEAR * min(times):
            candidates[i] = one.rejecting(f"estimated {one.seconds / min(times):.3g} times slower: not tried")


def _tried(
    one: Candidate,
    usable: Usable,
    work: Workload,
    model: Any,
    batch: Any,
    seconds: float,
    loss: Any,
    dtype: Any,
) -> Candidate:
    """The candidate with what a run took there, remembered or made now; left out where it cannot run."""
    file = f"choices/{work.signature}.json"
    key = json.dumps(
        [profile.key(usable.record, usable.info), getattr(loss, "__qualname__", "")], sort_keys=True
    )
    kept = config.read_cache_json(file)
    taken = kept.get(key)
    if isinstance(taken, float) and taken > 0:
        return replace(one, seconds=taken, how="measured before")
    try:
        if not trial.has_values(model):
            raise ArgumentError("a model without values cannot be run", fix="ask with how='estimate'")
        device = detect.resolve(one.id)
        taken = trial.run(model, batch, device, work.training, seconds, loss, dtype)
    except _UNFIT as error:
        what = error.what if isinstance(error, MlcoreError) else f"{type(error).__name__}: {error}"
        return replace(one, seconds=None, how="", rejected=what)
    config.write_cache_json(file, {**config.read_cache_json(file), key: taken})
    return replace(one, seconds=taken, how="measured")


def _time(one: Candidate) -> float:
    return one.seconds if one.seconds is not None else 0.0


def _room(one: Candidate) -> float:
    return float("inf") if one.has is None else float(one.needs - one.has)


def _that(candidates: list[Candidate]) -> str:
    return "" if len(candidates) == 1 else " that fits"


def _verdict(
    objective: str,
    work: Workload,
    candidates: list[Candidate],
    cost: Callable[[Candidate], float],
    because: str,
) -> Verdict:
    """The cheapest of the candidates that are left; where all cost the same, the first in the order of devices."""
    left = [one for one in candidates if not one.rejected]
    if not left:
        raise DeviceError(
            f"no device can run {work.name}",
            cause="; ".join(f"{one.short}: {one.rejected}" for one in candidates),
            fix="use a smaller batch or model, or mlcore doctor",
        )
    best = min(left, key=cost)
    ordered = sorted(candidates, key=lambda one: (bool(one.rejected), cost(one)))
    return Verdict(best.id, objective, work, tuple(ordered), because)
