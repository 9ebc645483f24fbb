"""Random states as plain data: mlcore's stream, Python's `random`, NumPy's global generator, and single ones."""

from __future__ import annotations

import random as python_random
from typing import Any

import numpy as np

from mlcore.errors import CheckpointError
from mlcore.ops import random


def global_state() -> dict[str, Any]:
    """Where the three streams stand that a program draws from without naming one."""
    return {
        "mlcore": random.get_state(),
        "python": _python_state(python_random),
        "numpy": np.random.get_state(legacy=False),
    }


def set_global_state(state: Any) -> None:
    """Continue where `global_state` was taken. A pair is the state of mlcore's stream alone (version 1)."""
    if isinstance(state, tuple):
        random.set_state(state)
        return
    try:
        random.set_state(state["mlcore"])
        _set_python_state(python_random, state["python"])
        np.random.set_state(state["numpy"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"the random state makes no sense ({type(error).__name__}: {error})") from error


def state_of(part: Any) -> Any:
    """What is saved of a part: its `state_dict()`, a generator's state, or the part itself where it is plain data."""
    if hasattr(part, "state_dict"):
        return part.state_dict()
    if isinstance(part, random.Generator):
        return part.get_state()
    if isinstance(part, np.random.Generator):
        return part.bit_generator.state
    if isinstance(part, np.random.RandomState):
        return part.get_state(legacy=False)
    if isinstance(part, python_random.Random):
        return _python_state(part)
    return part


def set_state_of(part: Any, state: Any) -> None:
    """Give a part what `state_of` made of one."""
    if isinstance(part, random.Generator | np.random.RandomState):
        part.set_state(state)
    elif isinstance(part, np.random.Generator):
        part.bit_generator.state = state
    elif isinstance(part, python_random.Random):
        _set_python_state(part, state)
    else:
        part.load_state_dict(state)


def _python_state(source: Any) -> dict[str, Any]:
    version, words, gauss = source.getstate()
    return {"version": version, "words": np.array(words, np.uint32), "gauss": gauss}


def _set_python_state(target: Any, state: Any) -> None:
    words = tuple(int(word) for word in state["words"])
    target.setstate((state["version"], words, state["gauss"]))
