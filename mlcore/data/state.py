"""Where a loader stands, and how it goes on there: the states of its generators when the epoch began, and a count."""

from __future__ import annotations

from typing import Any, Final

from mlcore.data.epoch import Place
from mlcore.errors import ArgumentTypeError, DataError
from mlcore.ops import random

VERSION: Final = 1
KEYS: Final = {
    *("version", "epoch", "position", "beyond", "dataset", "starts", "generators", "sampler", "facts")
}


class Marks:
    """What a loader remembers to be able to say where it stands."""

    def __init__(self) -> None:
        self.number = 0  # epochs begun
        self.starts: list[Any] = []  # the generators' states when the epoch began
        self.sampler: Any = None  # a sampler's own state then
        self.place = Place(exhausted=True)
        self.loaded: dict[str, Any] | None = None  # an epoch that is to go on
        self.before: list[Any] = []

    # -- an epoch begins --------------------------------------------------------------------------------------------

    def begin(self, loader: Any) -> Place:
        """Note where the generators stand; or put them where they stood, for the same order to be drawn."""
        state, sources = self.loaded, _generators(loader)
        self.place = Place()
        if state is not None:
            self.before = [source.get_state() for source in sources]
            for source, where in zip(sources, state["starts"], strict=True):
                source.set_state(where)
            _restore(_sampler(loader), state["sampler"])
            dataset = state["dataset"]
            self.place = Place(
                state["position"], set(state["beyond"]), None if dataset is None else tuple(dataset)
            )
        self.number += 1
        self.starts = [source.get_state() for source in sources]
        self.sampler = _state_of(_sampler(loader))
        return self.place

    def drawn(self, loader: Any, at_once: bool) -> None:
        """The order is drawn. The generators go on from where they were, unless the sampler still draws from them."""
        state, self.loaded = self.loaded, None
        if state is not None:
            drawing = () if at_once else [id(getattr(one, "generator", None)) for one in _samplers(loader)]
            for source, where in zip(_generators(loader), self.before, strict=True):
                if id(source) not in drawing:
                    source.set_state(where)

    # -- state ------------------------------------------------------------------------------------------------------

    def save(self, loader: Any) -> dict[str, Any]:
        """The state as a dict."""
        if self.loaded is not None:  # nothing has happened since
            return dict(self.loaded)
        place, inside = self.place, not self.place.exhausted
        return {
            "version": VERSION,
            "epoch": self.number,
            "position": place.position if inside else None,
            "beyond": sorted(place.beyond) if inside else [],
            "dataset": place.dataset if inside else None,
            "starts": [list(one) for one in self.starts] if inside else [],
            "generators": [list(source.get_state()) for source in _generators(loader)],
            "sampler": self.sampler if inside else _state_of(_sampler(loader)),
            "facts": _facts(loader),
        }

    def load(self, loader: Any, state: Any) -> None:
        """Take a state over; an epoch that it is in the middle of goes on when the loader is gone through next."""
        if not isinstance(state, dict) or not set(state) >= KEYS:
            raise ArgumentTypeError(
                f"DataLoader.load_state_dict: no state of a loader: {_brief(state)}",
                fix="pass what state_dict() gave",
            )
        if state["version"] != VERSION:
            raise DataError(
                f"DataLoader.load_state_dict: a state of version {state['version']}; this is {VERSION}"
            )
        sources = _generators(loader)
        wrong = [
            f"{name} {state['facts'].get(name)} became {value}"
            for name, value in _facts(loader).items()
            if state["facts"].get(name) != value
        ]
        if len(state["generators"]) != len(sources):
            wrong.append(f"{len(state['generators'])} generators became {len(sources)}")
        if wrong:
            raise DataError(
                f"DataLoader.load_state_dict: the state is of another loader: {'; '.join(wrong)}",
                fix="make the loader as it was; the number and kind of workers may change",
            )
        inside = state["position"] is not None
        self.place = Place(exhausted=True)
        self.loaded = dict(state) if inside else None
        self.number = int(state["epoch"]) - inside  # that epoch is begun again
        for source, where in zip(sources, state["generators"], strict=True):
            source.set_state(where)
        if not inside:
            _restore(_sampler(loader), state["sampler"])


def _facts(loader: Any) -> dict[str, Any]:
    """What has to be the same for a state to have a meaning."""
    size = None if loader._iterable else len(loader.dataset)
    return {
        "dataset length": size,
        "batch_size": loader.batch_size,
        "drop_last": loader.drop_last,
        "sampler": type(
            loader.batch_sampler if loader.batch_sampler is not None else loader.sampler
        ).__name__,
    }


def _sampler(loader: Any) -> Any:
    """The sampler that was given, innermost."""
    if loader.sampler is not None:
        return loader.sampler
    return getattr(loader.batch_sampler, "sampler", loader.batch_sampler)


def _samplers(loader: Any) -> list[Any]:
    found = [loader.sampler, loader.batch_sampler, getattr(loader.batch_sampler, "sampler", None)]
    return [one for one in found if one is not None]


def _generators(loader: Any) -> list[Any]:
    """Every generator that an epoch may draw from, each once: the samplers', the loader's, mlcore's default."""
    found = [getattr(one, "generator", None) for one in (*_samplers(loader), loader)]
    distinct = {id(one): one for one in [*found, random.default_generator()] if hasattr(one, "get_state")}
    return list(distinct.values())


def _state_of(sampler: Any) -> Any:
    """A sampler's own state: what its state_dict() gives, or the epoch that it was set to."""
    if callable(getattr(sampler, "state_dict", None)):
        return sampler.state_dict()
    if callable(getattr(sampler, "set_epoch", None)):
        return {"epoch": getattr(sampler, "epoch", 0)}
    return None


def _restore(sampler: Any, state: Any) -> None:
    if state is None:
        return
    if callable(getattr(sampler, "load_state_dict", None)):
        sampler.load_state_dict(state)
    elif callable(getattr(sampler, "set_epoch", None)):
        sampler.set_epoch(state["epoch"])


def _brief(value: Any) -> str:
    text = f"{type(value).__name__} {value!r}"
    return text if len(text) <= 120 else f"{text[:117]}..."
