"""The queue: threads, compilers, profiles, forks, and devices that stop answering."""

from __future__ import annotations

import os
import pickle
import threading
from typing import Any

import numpy as np
import pytest
from mlcore_oneapi import errors
from mlcore_oneapi.programs import FOLDER
from mlcore_oneapi.queue import Queue
from mlcore_oneapi.tools import numbers

import mlcore as ml
from mlcore import config
from mlcore.backends.kernel_library import CompileError
from mlcore.errors import DeviceError, DeviceLostError, OutOfMemoryError

SOURCE = """
typedef struct { long v[36]; } Numbers;
__kernel __attribute__((reqd_work_group_size(64, 1, 1)))
void plus(__global const float* a, __global float* o, const Numbers w) {
  for (long i = get_global_id(0); i < w.v[0]; i += get_global_size(0)) o[i] = a[i] + w.v[1];
}
"""


class Failure(Exception):
    """Looks like an error of pyopencl."""

    def __init__(self, code: int) -> None:
        super().__init__(f"command failed: {code}")
        self.code = code


def work(queue: Queue, kernel: Any, add: int, count: int = 1000) -> np.ndarray[Any, Any]:
    x = np.arange(count, dtype=np.float32)
    a, b = queue.take(x.nbytes), queue.take(x.nbytes)
    queue.upload(a, x)
    for _ in range(3):
        queue.launch(kernel, (0, a.buffer, 1, b.buffer), numbers(count, add), (1024,))
        a, b = b, a
    found = np.empty_like(x)
    queue.download(a, found)
    return found - x


def test_commands_run_in_order_from_many_threads(queue: Queue) -> None:
    (kernel,) = queue.kernels(SOURCE, [("plus", (64,))])
    wrong: list[str] = []

    def run(add: int) -> None:
        for _ in range(30):
            found = work(queue, kernel, add)
            if not (found == 3 * add).all():
                wrong.append(f"{add}: {found[:3]}")

    threads = [threading.Thread(target=run, args=(i,)) for i in range(1, 5)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert not wrong
    assert queue.launches == 4 * 30 * 3


def test_a_source_that_does_not_compile(queue: Queue) -> None:
    with pytest.raises(CompileError) as caught:
        queue.kernels("__kernel void k(__global float* a) {\n  a[0] = nothing;\n}", [("k", (1,))])
    assert "nothing" in str(caught.value)
    assert ":2:" in str(caught.value)
    queue.synchronize()


def test_compiled_kernels_are_kept_on_disk(device: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    text = SOURCE.replace("plus", "kept")
    first = Queue(device.backend.queue.device, "oneapi:first")
    first.compiler.keep = True
    (kernel,) = first.kernels(text, [("kept", (64,))])
    wanted = work(first, kernel, 5)
    second = Queue(device.backend.queue.device, "oneapi:second")
    second.compiler.keep = True
    (again,) = second.kernels(text, [("kept", (64,))])
    assert (second.compiler.spent.compiled, second.compiler.spent.loaded) == (0, 1)
    assert (work(second, again, 5) == wanted).all()
    for file in (config.cache_dir() / FOLDER).glob("*.bin"):
        file.write_bytes(b"not a binary")
    third = Queue(device.backend.queue.device, "oneapi:third")
    third.compiler.keep = True
    (once_more,) = third.kernels(text, [("kept", (64,))])
    assert third.compiler.spent.compiled == 1
    assert (work(third, once_more, 5) == wanted).all()


def test_a_profile(device: Any) -> None:
    queue = Queue(device.backend.queue.device, "oneapi:profiled", profile=True)
    (kernel,) = queue.kernels(SOURCE, [("plus", (64,))])
    work(queue, kernel, 1)
    found = queue.profile()
    assert [name for name, _ in found] == ["plus"] * 3
    assert all(0 <= seconds < 10 for _, seconds in found)
    assert queue.profile() == []


def test_a_lost_device_stays_lost_and_harms_nobody(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlcore_oneapi.queue as module
    import pyopencl as cl

    (kernel,) = queue.kernels(SOURCE, [("plus", (64,))])
    host = ml.ones((3,), device="reference")

    class Gone(cl.LogicError):
        code = -36

    def fail(*args: Any) -> None:
        raise Gone("clEnqueueNDRangeKernel failed: INVALID_COMMAND_QUEUE")

    with monkeypatch.context() as patch:
        patch.setattr(module, "_enqueue", fail)
        with pytest.raises(DeviceLostError, match="oneapi:test") as caught:
            work(queue, kernel, 1)
    assert "INVALID_COMMAND_QUEUE" in str(caught.value)
    for call in (queue.synchronize, lambda: queue.take(10), lambda: work(queue, kernel, 1)):
        with pytest.raises(DeviceLostError):
            call()
    assert queue.empty_cache() == 0
    assert (host + 1).tolist() == [2.0, 2.0, 2.0]


def test_a_full_device_is_tried_again(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlcore_oneapi.queue as module
    import pyopencl as cl

    (kernel,) = queue.kernels(SOURCE, [("plus", (64,))])
    real, failures = module._enqueue, [2]

    class Full(cl.MemoryError):
        code = -4

    def sometimes(*args: Any) -> Any:
        if failures[0]:
            failures[0] -= 1
            raise Full("clEnqueueNDRangeKernel failed: MEM_OBJECT_ALLOCATION_FAILURE")
        return real(*args)

    monkeypatch.setattr(module, "_enqueue", sometimes)
    with pytest.raises(OutOfMemoryError):  # twice in a row: that was it
        work(queue, kernel, 1)
    failures[0] = 1
    assert (work(queue, kernel, 2) == 6).all()  # once: the cache was given back, and it went on


@pytest.mark.parametrize(
    ("code", "kind"), [(-4, OutOfMemoryError), (-5, OutOfMemoryError), (-2, DeviceLostError)]
)
def test_codes(code: int, kind: type[Exception]) -> None:
    assert type(errors.explained("oneapi", Failure(code))) is kind
    assert errors.explained("oneapi", Failure(-30)) is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_is_told(device: Any) -> None:
    x = ml.ones((8,), device=device)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            try:
                (x + 1).tolist()
            except DeviceError as error:
                os.write(write, str(error).encode())
                status = 0
        finally:
            os._exit(status)
    os.close(write)
    text = os.read(read, 10_000).decode()
    assert os.waitpid(child, 0)[1] == 0
    os.close(read)
    assert "cannot be used in a forked process" in text
    assert "spawn" in text
    assert (x + 1).tolist() == [2.0] * 8  # the parent goes on


def test_devices_are_not_mixed(device: Any) -> None:
    with pytest.raises(DeviceError, match="oneapi"):
        ml.ones((2,), device=device) + ml.ones((2,), device="reference")
    assert pickle.loads(pickle.dumps(ml.arange(3, device=device))).tolist() == [0, 1, 2]
