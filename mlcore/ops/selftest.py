"""What a device must get right before anybody computes on it: a round trip, a sum and a product of known values."""

from __future__ import annotations

import numpy as np

from mlcore import dispatch, dtypes
from mlcore.backends import detect
from mlcore.backends.protocol import Device
from mlcore.errors import PluginError
from mlcore.ops.elementwise import add
from mlcore.ops.linalg import contract


def self_test(device: Device) -> None:
    """Raise PluginError, naming what differs, for a device that computes wrong or cannot compute at all."""
    dtype = dtypes.float32 if dtypes.float32 in device.backend.dtypes else None
    if dtype is None:
        raise PluginError(
            f"device {device} holds no float32", cause="it is the dtype that everything starts from"
        )
    host = np.array([[1.0, -2.0], [0.5, 4.0]], dtype=np.float32)
    x = dispatch.from_data(host, None, device)
    for what, found, wanted in (
        ("a round trip", x, host),
        ("add", add(x, x), host + host),
        ("matmul", contract(x, x), host @ host),
    ):
        values = np.asarray(found)
        if values.shape != wanted.shape or not np.array_equal(values, wanted):
            raise PluginError(f"device {device} failed its self-test at {what}",
                              cause=f"got {values.tolist()}, expected {wanted.tolist()}",
                              fix="update or remove the backend; another device is chosen meanwhile")  # fmt: skip


detect.on_open.append(self_test)
