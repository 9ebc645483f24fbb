"""A loader goes on exactly where it stood: every point of several epochs, every kind of dataset, sampler and worker."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import mlcore as ml
from mlcore import data
from mlcore.errors import DataError, MlcoreError

EPOCHS = 3
SIZE = 20
LABELS = [i % 3 for i in range(SIZE)]


class Noisy(data.Dataset):
    def __len__(self) -> int:
        return SIZE

    def __getitem__(self, index: int) -> Any:
        return index, data.sample_rng().random(), ml.random.uniform((2,), generator=data.sample_generator())


class Stream(data.IterableDataset):
    """Skips by chance, so what comes depends on every number drawn before."""

    def __iter__(self) -> Iterator[Any]:
        for i in range(2 * SIZE):
            if data.sample_rng().random() < 0.5:
                yield i, data.sample_rng().random()


class Counter(data.IterableDataset):
    """Knows where it stands, and must not be read from the start."""

    def __init__(self) -> None:
        self.place = self.start = 0

    def __iter__(self) -> Iterator[int]:
        self.place, self.start = self.start, 0
        while self.place < SIZE:
            self.place += 1
            yield self.place - 1

    def __len__(self) -> int:
        return SIZE

    def state_dict(self) -> dict[str, int]:
        return {"place": self.place}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.start = state["place"]


class Lazy(data.Sampler[int]):
    """A sampler of somebody's own that draws while it is gone through."""

    def __init__(self, generator: Any) -> None:
        self.generator = generator

    def __iter__(self) -> Iterator[int]:
        for _ in range(SIZE):
            yield int(ml.random.integers(SIZE, generator=self.generator).item())

    def __len__(self) -> int:
        return SIZE


class Stateful(Lazy):
    """One that says itself where it stands."""

    def __init__(self) -> None:
        self.rounds = 0

    def __iter__(self) -> Iterator[int]:
        self.rounds += 1
        yield from np.random.default_rng(self.rounds).permutation(SIZE).tolist()

    def state_dict(self) -> dict[str, int]:
        return {"rounds": self.rounds}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.rounds = state["rounds"]


def generator() -> Any:
    return ml.random.Generator(int(np.random.default_rng().integers(1 << 60)))


def own() -> dict[str, Any]:
    return dict(batch_size=3, shuffle=True, generator=generator())


Make = Callable[..., Any]
LOADERS: dict[str, Make] = {
    "own generator": lambda **k: data.DataLoader(Noisy(), **own(), **k),
    "mlcore's generator": lambda **k: data.DataLoader(Noisy(), 3, True, **k),
    "in order": lambda **k: data.DataLoader(Noisy(), 4, drop_last=True, **k),
    "samples": lambda **k: data.DataLoader(Noisy(), None, sampler=data.RandomSampler(range(7)), **k),
    "tensors": lambda **k: data.DataLoader(data.TensorDataset(ml.arange(SIZE), ml.arange(SIZE)), **own(), **k),
    "weighted": lambda **k: data.DataLoader(
        Noisy(), 3, sampler=data.WeightedRandomSampler(range(SIZE), 15, generator=generator()), **k
    ),
    "balanced": lambda **k: data.DataLoader(
        Noisy(), 4, sampler=data.ClassBalancedSampler(LABELS, generator=generator()), generator=generator(), **k
    ),
    "buckets": lambda **k: data.DataLoader(
        Noisy(), batch_sampler=data.BucketBatchSampler(range(SIZE), 3, generator=generator()), **k
    ),
    "lazy": lambda **k: data.DataLoader(Noisy(), 3, sampler=Lazy(generator()), **k),
    "stateful": lambda **k: data.DataLoader(Noisy(), 3, sampler=Stateful(), **k),
    "distributed": lambda **k: data.DataLoader(Noisy(), 2, sampler=data.DistributedSampler(range(SIZE), 2, 1), **k),
    "stream": lambda **k: data.DataLoader(Stream(), 3, **k),
    "stream that knows": lambda **k: data.DataLoader(Counter(), 3, generator=generator(), **k),
}  # fmt: skip
WORKERS: dict[str, dict[str, Any]] = {
    "none": {},
    "threads": dict(num_workers=2),
    "kept threads": dict(num_workers=3, persistent_workers=True, prefetch_factor=1),
    "processes": dict(num_workers=2, multiprocessing_context="fork", persistent_workers=True),
}


def plain(batch: Any) -> Any:
    if isinstance(batch, (tuple, list)):
        return [plain(one) for one in batch]
    return batch.tolist() if hasattr(batch, "tolist") else batch


def go(loader: Any, epoch: int, seen: Callable[[Any], None]) -> Iterator[None]:
    """The rest of the run, as a training loop: batches, and a number from mlcore's generator at each step."""
    for number in range(epoch, EPOCHS):
        if hasattr(loader.sampler, "set_epoch"):
            loader.sampler.set_epoch(number)
        for batch in loader:
            seen([plain(batch), ml.random.uniform().item()])
            yield
        seen(f"end of epoch {number}")
        yield


def points(make: Make, **workers: Any) -> tuple[list[dict[str, Any]], list[Any]]:
    """The states at every point of a run, and everything that was seen."""
    record: list[Any] = []
    ml.manual_seed(int(np.random.default_rng().integers(1 << 60)))
    loader = make(**workers)
    states = [loader.state_dict()]
    for _ in go(loader, 0, record.append):
        states.append(json.loads(json.dumps(loader.state_dict())))
    return states, record


def rest(make: Make, state: dict[str, Any], **workers: Any) -> list[Any]:
    """What a new program sees that goes on from a state."""
    found: list[Any] = []
    ml.manual_seed(99)
    loader = make(**workers)
    loader.load_state_dict(state)
    assert loader.state_dict() == state
    first = state["epoch"] - (state["position"] is not None)
    for _ in go(loader, first, found.append):
        pass
    return found


COUNTED = {"points": 0}


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("name", LOADERS)
def test_every_point_is_exact(name: str, workers: str) -> None:
    options = WORKERS[workers]
    states, record = points(LOADERS[name], **options)
    assert len(states) == len(record) + 1 > 3 * EPOCHS
    step = 1 if workers != "processes" else 2
    for i in range(0, len(states), step):
        if name == "lazy" and workers != "none":
            continue  # how far such a sampler has drawn ahead is not known: see the next test
        assert rest(LOADERS[name], states[i], **options) == record[i:], f"point {i} of {len(record)}"
        COUNTED["points"] += 1


def test_there_were_a_thousand_points() -> None:
    if COUNTED["points"] > 300:  # not when only some of them were asked for
        assert COUNTED["points"] >= 1000
    print(f"{COUNTED['points']} resume points, each exact")


@pytest.mark.parametrize("name", ["own generator", "buckets", "stream", "stream that knows"])
def test_the_number_and_kind_of_workers_may_change(name: str) -> None:
    states, record = points(LOADERS[name], num_workers=2)
    for i, options in zip(range(1, len(states), 2), [*WORKERS.values()] * 10, strict=False):
        assert rest(LOADERS[name], states[i], **options) == record[i:]


def test_a_sampler_that_draws_as_it_goes_is_exact_within_the_epoch() -> None:
    states, record = points(LOADERS["lazy"], num_workers=2)
    end = record.index("end of epoch 0")
    for i in range(1, end):
        found = [one[0] for one in rest(LOADERS["lazy"], states[i], num_workers=2)[: end - i]]
        assert found == [one[0] for one in record[i:end]]


def test_batches_out_of_order_are_not_given_twice() -> None:
    import time

    class Slow(Noisy):
        def __getitem__(self, index: int) -> Any:
            time.sleep(0.03 if index % 8 == 0 else 0)
            return index

    def make() -> Any:
        return data.DataLoader(
            Slow(), 2, sampler=data.SequentialSampler(range(SIZE)), num_workers=3, in_order=False
        )

    for stop in range(1, 10):
        loader = make()
        first = []
        for batch in loader:
            first += batch.tolist()
            if len(first) == 2 * stop:
                state = loader.state_dict()
                break
        again = make()
        again.load_state_dict(state)
        assert sorted(first + [i for batch in again for i in batch.tolist()]) == list(range(SIZE))


def test_leaving_an_epoch_early_keeps_the_place() -> None:
    ml.manual_seed(3)
    loader = LOADERS["own generator"]()
    seen = []
    for batch in loader:
        seen.append(plain(batch)[0])
        if len(seen) == 3:
            break
    state = loader.state_dict()
    assert (state["epoch"], state["position"]) == (1, 3)
    again = LOADERS["own generator"]()
    again.load_state_dict(state)
    rest_of_it = [i for batch in again for i in plain(batch)[0]]
    assert sorted([i for batch in seen for i in batch] + rest_of_it) == list(range(SIZE))
    assert len(list(again)) == 7  # the next epoch is whole


def test_the_original_goes_on_undisturbed() -> None:
    """Asking for the state, and another loader that takes it, change nothing."""

    def run(asks: bool) -> list[Any]:
        ml.manual_seed(5)
        loader, found = data.DataLoader(Noisy(), 3, True), []
        for _ in range(2):
            for batch in loader:
                found.append(plain(batch))
                if asks:
                    loader.state_dict()
        return found

    assert run(True) == run(False)


WRONG: list[tuple[Callable[[Any], Any], str]] = [
    (lambda state: 5, "no state of a loader: int 5"),
    (lambda state: {"position": 3}, "no state of a loader"),
    (lambda state: {**state, "version": 9}, "a state of version 9"),
    (lambda state: {**state, "facts": {**state["facts"], "batch_size": 8}}, "batch_size 8 became 3"),
    (
        lambda state: {**state, "facts": {**state["facts"], "dataset length": 5, "drop_last": True}},
        "dataset length 5 became 20; drop_last True became False",
    ),
    (lambda state: {**state, "generators": []}, "0 generators became"),
]


@pytest.mark.parametrize(("change", "text"), WRONG, ids=[text for _, text in WRONG])
def test_refusals(change: Callable[[Any], Any], text: str) -> None:
    loader = LOADERS["own generator"]()
    with pytest.raises((DataError, TypeError), match=text) as caught:
        loader.load_state_dict(change(loader.state_dict()))
    assert isinstance(caught.value, MlcoreError)
