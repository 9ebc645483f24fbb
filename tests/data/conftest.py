"""The devices that the tests of networks run on: the specification, and the one that this machine prefers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import mlcore as ml


def _ids() -> list[str]:
    return list(dict.fromkeys(["reference:0", ml.default_device().id]))


@pytest.fixture(params=_ids())
def device(request: pytest.FixtureRequest) -> Iterator[str]:
    """Everything is made on this device meanwhile."""
    with ml.device(request.param):
        yield request.param
