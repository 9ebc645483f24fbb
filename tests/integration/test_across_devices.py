"""One program on every installed device, each against every other."""

from __future__ import annotations

import pytest

from mlcore.testing.across import *  # noqa: F403
from mlcore.testing.across import installed


def test_there_are_two_devices_to_compare() -> None:
    if len(installed()) < 2:
        pytest.skip("only one device is installed")
