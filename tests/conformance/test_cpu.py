"""The kit on mlcore-cpu, as a backend's own test folder has it."""

from __future__ import annotations

import pytest

from mlcore.testing.conformance import *  # noqa: F403

pytest.importorskip("mlcore_cpu")
mlcore_backend = "cpu"
