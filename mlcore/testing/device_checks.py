"""The checks of a device as a whole: transfers, memory, random numbers, threads, forks, the processor's modes.

PYTEST_DONT_REWRITE: pytest would explain a failure by comparing megabytes, line by line.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from mlcore import autograd, dtypes
from mlcore.backends import detect
from mlcore.backends.protocol import Backend, Device
from mlcore.dtypes import DType
from mlcore.errors import DTypeError
from mlcore.inputs import from_data
from mlcore.ops import random
from mlcore.testing.compare import Host, host, mismatch
from mlcore.testing.inputs import LAYOUTS, flushes, rng_for, specials, upload, values
from mlcore.testing.units import Skip, Tally

# (key, first bits) of JAX's threefry2x32, partitionable: ``jax.random.bits(jax.random.key(seed), (4,), "uint32")``;
# the last row is its key data 0x13198a2e, 0x03707344.
KNOWN_BITS: tuple[tuple[int, tuple[int, ...]], ...] = (
    (0, (0xF29A4FA7, 0xFA843692, 0x55110E28, 0x77FAA835)),
    (1, (0x704A38B7, 0x88A4083E, 0x7227B57A, 0x703ABFF1)),
    (7, (0xAC91290B, 0xF9807E00, 0x4D8729AA, 0x71A74530)),
    (42, (0x7D1C13A2, 0xAE0730D9, 0x9DC3F9F9, 0x8F9EC1D7)),
    (0xFFFFFFFF, (0x84B8C06F, 0x8C00439D, 0x775A4FAB, 0xECD658CD)),
    (0x13198A2E03707344, (0x90101073, 0xCBF4AA01, 0x70C84C97, 0x7BB09A04)),
)
# Element 999 of the first four keys: a counter beyond any vector's width.
KNOWN_LATER = ((0, 0x64F53232), (1, 0xD3773E52), (7, 0x56B8A903), (42, 0x5DC2D15A))


def check_protocol(device: Device) -> Callable[[Tally], None]:
    """The five methods, the dtypes, and a first sum and product."""

    def run(tally: Tally) -> None:
        backend = device.backend
        with tally.case("the protocol's methods"):
            assert isinstance(backend, Backend), "a method of the protocol is missing"
            assert backend.device is device, f"backend.device is {backend.device!r}, expected {device!r}"
            assert backend.dtypes, "the device holds no dtype"
            assert set(backend.dtypes) <= dtypes.everything, "dtypes holds something that is not a dtype"
            assert dtypes.float32 in backend.dtypes, "the device does not hold float32"
            backend.synchronize()
        with tally.case("a sum and a product"):
            x = upload(np.arange(6, dtype=np.float32).reshape(2, 3), device)
            assert host(x + x).tolist() == [[0, 2, 4], [6, 8, 10]]
            assert host(x @ x.mT).tolist() == [[5, 14], [14, 50]]
            tally.compare(10)

    return run


def check_roundtrip(dtype: DType, device: Device) -> Callable[[Tally], None]:
    """Bits that go to the device and come back are the same, however the host's array lies; and across devices."""

    def arrays() -> list[tuple[str, Host]]:
        rng = rng_for("roundtrip", dtype.name)
        plain = values(rng, (5, 6, 7), dtype, (-100, 100))
        frozen = plain.copy()
        frozen.flags.writeable = False
        found = [
            ("C order", plain), ("Fortran order", np.asfortranarray(plain)), ("negative steps", plain[::-1, :, ::-2]),
            ("sliced", plain[1::2, ::3]), ("stride 0", np.broadcast_to(plain[:1], plain.shape)),
            ("0-d", plain[0, 0, 0].reshape(())), ("empty", plain[:0]), ("read-only", frozen),
            ("special", specials(dtype)),
            ("large", values(rng, (1029, 131), dtype, (-100, 100))),
        ]  # fmt: skip
        if dtype.itemsize > 1 and dtype.name != "bfloat16":
            found.append(("other byte order", plain.astype(plain.dtype.newbyteorder())))
        return found

    def run(tally: Tally) -> None:
        where = detect.resolve("reference")
        for text, array in arrays():
            with tally.case(text):
                tensor = upload(array, device)
                native = array.astype(dtype.numpy)
                back = host(tensor)
                assert back.dtype == native.dtype, f"came back as {back.dtype}"
                assert back.shape == native.shape, f"came back as {back.shape}"
                assert np.ascontiguousarray(back).tobytes() == native.tobytes(), "the bits changed"
                tally.compare(native.size)
            with tally.case(f"{text} to the reference and back"):
                again = upload(array, device).to(where).to(device)
                assert again.device is device
                assert np.ascontiguousarray(host(again)).tobytes() == native.tobytes(), "the bits changed"
        for name, layout in LAYOUTS.items():
            with tally.case(f"layout {name}"):
                array = layout.change(values(rng_for("layout", dtype.name), (3, 4, 5), dtype, (-100, 100)))
                back = host(layout.place(array, device))
                assert np.ascontiguousarray(back).tobytes() == np.ascontiguousarray(array).tobytes(), (
                    "other values than put in"
                )
                tally.compare(array.size)

    return run


def check_refused_dtypes(device: Device) -> Callable[[Tally], None]:
    """A dtype that the device does not hold is refused by name."""

    def run(tally: Tally) -> None:
        missing = [d for d in dtypes.all_dtypes if d not in device.backend.dtypes]
        if not missing:
            raise Skip("the device holds every dtype")
        for dtype in missing:
            with tally.case(dtype):
                text = ""
                try:
                    upload(np.zeros(3, dtype=dtype.numpy), device)
                except DTypeError as error:
                    text = str(error)
                assert dtype.name in text, f"{text or 'no error'}, expected one that names {dtype}"

    return run


def check_aliasing(device: Device) -> Callable[[Tally], None]:
    """No memory is shared visibly: what the host changes later does not show, and tensors stay apart."""

    def run(tally: Tally) -> None:
        for shape in ((4,), (300, 400)):
            with tally.case(f"changing the source of {shape}"):
                source = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
                tensor, kept = upload(source, device), source.copy()
                source[...] = -1
                assert np.array_equal(host(tensor), kept), "the tensor changed with its source"
            with tally.case(f"two results on the host of {shape}"):
                one, two = upload(kept, device), upload(kept + 1, device)
                first = host(one)
                host(two)
                assert np.array_equal(first, kept), "the first result changed when the second came"
            with tally.case(f"the host's view of {shape} is read-only"):
                assert not host(upload(kept, device)).flags.writeable
            with tally.case(f"assignment of {shape}"):
                x = upload(kept, device)
                y, z = x.reshape((-1,)), x + 0
                x[0] = -5.0
                x += 1
                assert np.array_equal(host(y), kept.reshape(-1)), "another tensor changed with an assignment"
                assert np.array_equal(host(z), kept), "another tensor changed with an assignment"
                tally.compare(kept.size * 2)

    return run


def check_random(device: Device) -> Callable[[Tally], None]:
    """The known bits, uniforms that are equal bit by bit on every device, and the order of draws."""

    def bits(generator: random.Generator, count: int) -> list[int]:
        return [
            int(v) for v in random.integers(0, 2**32, (count,), generator=generator, device=device).tolist()
        ]

    def run(tally: Tally) -> None:
        where = detect.resolve("reference")
        for seed, known in KNOWN_BITS:
            with tally.case(f"bits of seed {seed}"):
                found = bits(random.Generator(seed), len(known))
                assert found == list(known), f"{[hex(v) for v in found]}, expected {[hex(v) for v in known]}"
                tally.compare(len(known))
        for seed, last in KNOWN_LATER:
            with tally.case(f"bit pattern 999 of seed {seed}"):
                assert bits(random.Generator(seed), 1000)[-1] == last
                tally.compare(1000)
        draws: list[tuple[str, Callable[[Any, Device], Any]]] = [
            ("uniform", lambda g, d: random.uniform((37, 41), generator=g, device=d)),
            ("uniform of bounds", lambda g, d: random.uniform((33,), -2.0, 2.0, generator=g, device=d)),
            ("integers", lambda g, d: random.integers(-5, 17, (101,), generator=g, device=d)),
            ("permutation", lambda g, d: random.permutation(100, generator=g, device=d)),
            ("bernoulli", lambda g, d: random.bernoulli(0.3, (101,), generator=g, device=d)),
            (
                "dropout",
                lambda g, d: random.dropout(
                    upload(np.ones((31, 17), dtype=np.float32), d), 0.25, generator=g
                ),
            ),
        ]
        for text, draw in draws:
            with tally.case(f"{text}, the same on the reference"):
                ours, theirs = random.Generator(123), random.Generator(123)
                for _ in range(2):  # the second draw's counter is past 2**32
                    a, b = host(draw(ours, device)), host(draw(theirs, where))
                    assert a.tobytes() == b.tobytes(), "other values than on the reference"
                    tally.compare(a.size)

    return run


def check_memory(device: Device) -> Callable[[Tally], None]:
    """The statistics are honest as far as they go, and nothing leaks."""

    def run(tally: Tally) -> None:
        backend = device.backend
        stats = backend.memory_stats()
        with tally.case("the numbers"):
            for name in ("in_use", "peak", "reserved", "limit"):
                value = getattr(stats, name)
                assert value is None or (isinstance(value, int) and value >= 0), f"{name} is {value!r}"
            if stats.in_use is not None and stats.peak is not None:
                assert stats.peak >= stats.in_use, f"peak {stats.peak} is less than in use, {stats.in_use}"
        if stats.in_use is None:
            return
        gc.collect()
        backend.synchronize()
        start = backend.memory_stats().in_use or 0
        with tally.case("16 MiB appear and go away"):
            held = upload(np.ones(1 << 22, dtype=np.float32), device) + 1.0
            grown = (backend.memory_stats().in_use or 0) - start
            assert grown >= 1 << 24, f"16 MiB more are held, in_use grew by {grown} bytes"
            del held
            gc.collect()
            backend.synchronize()
            left = (backend.memory_stats().in_use or 0) - start
            assert left <= 1 << 16, f"{left} bytes stayed in use"
        with tally.case("200 allocations leave nothing"):
            for _ in range(200):
                upload(np.ones(1 << 16, dtype=np.float32), device) * 2.0
            gc.collect()
            backend.synchronize()
            left = (backend.memory_stats().in_use or 0) - start
            assert left <= 1 << 16, f"{left} bytes stayed in use"

    return run


def check_canary(device: Device) -> Callable[[Tally], None]:
    """The processor still computes with subnormals, in this thread and in a new one, after work on the device."""

    def subnormals() -> bool:
        tiny = np.full(9, 1e-45, dtype=np.float32)
        least = np.full(9, 2.0**-126, dtype=np.float32)
        return bool((tiny + tiny == np.float32(3e-45)).all() and (least * np.float32(0.5) != 0).all())

    def run(tally: Tally) -> None:
        with tally.case("before"):
            assert subnormals(), (
                "this process flushes subnormals to zero already: some library was linked with -ffast-math"
            )
        x = upload(rng_for("canary").standard_normal((257, 129)).astype(np.float32), device)
        ((x.exp() @ x.mT).sum() + x.max()).item()
        with tally.case("after work on the device"):
            assert subnormals(), "work on the device made the processor flush subnormals to zero"
        with tally.case("in a new thread"):
            found: list[bool] = []
            worker = threading.Thread(target=lambda: found.append(subnormals()))
            worker.start()
            worker.join()
            assert found == [True], "a new thread flushes subnormals to zero"
        tally.compare(54)

    return run


def check_subnormals(dtype: DType, device: Device) -> Callable[[Tally], None]:
    """Subnormal numbers count, unless the backend's `flushes` says that they are 0; then they are."""

    def run(tally: Tally) -> None:
        with tally.case(dtype):
            tiny = np.full(9, np.nextafter(dtype.numpy.type(0), dtype.numpy.type(1)), dtype=dtype.numpy)
            x = upload(tiny, device)
            found = host(x + x)
            if flushes(device, dtype):
                assert not found.any(), f"{found[0]}: take {dtype} out of the backend's `flushes`"
            else:
                assert (found == tiny + tiny).all(), (
                    f"{tiny[0]} + {tiny[0]} is {found[0]}: where the hardware flushes subnormals, the backend says so"
                    " in `flushes`, a set of dtypes"
                )
            tally.compare(9)

    return run


def _work(device: Device, seed: int) -> bytes:
    x = upload(np.random.default_rng(seed).standard_normal((150, 211)).astype(np.float32), device)
    with autograd.enable_grad():
        x.requires_grad = True
        y = (x @ x.mT).tanh().sum() + (x * 2.0).exp().mean()
        y.backward()
    return host(x.grad).tobytes() + host(y.detach()).tobytes()


def check_threads(device: Device) -> Callable[[Tally], None]:
    """Four threads with a tape each, at once: the same bits as one after the other."""

    def run(tally: Tally) -> None:
        alone = [_work(device, seed) for seed in range(4)]
        with tally.case("four threads"):
            found: dict[int, bytes] = {}
            errors: list[BaseException] = []
            gate = threading.Barrier(
                4, timeout=60
            )  # on a busy machine one thread could be done before the next starts

            def work(seed: int) -> None:
                try:
                    gate.wait()
                    for _ in range(5):
                        found[seed] = _work(device, seed)
                        assert found[seed] == alone[seed], (
                            "a thread's result differs from the one computed alone"
                        )
                except BaseException as error:
                    errors.append(error)

            workers = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
            for one in workers:
                one.start()
            for one in workers:
                one.join()
            if errors:
                raise errors[0]
            tally.compare(sum(map(len, alone)))

    return run


def check_fork(device: Device) -> Callable[[Tally], None]:
    """A forked child can use the device that its parent has used: data loaders fork."""

    def run(tally: Tally) -> None:
        if not hasattr(os, "fork"):
            raise Skip("this system has no fork")
        if getattr(device.backend, "fork_safe", True) is False:
            raise Skip("the backend says that it does not survive a fork")
        expected = _work(device, 7)
        with tally.case("a child's result"):
            found = _forked(lambda: _work(device, 7))
            assert found is not None, "the child died, or hung for 60 s"
            assert found == expected, "the child's result differs from its parent's"
            assert _work(device, 7) == expected, "the parent's result differs after the fork"
            tally.compare(len(expected))

    return run


def _forked(function: Callable[[], bytes]) -> bytes | None:
    """What a function returns in a forked child; None if it does not come back."""
    read, write = os.pipe()
    sys.stdout.flush()
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # Python 3.12 on: fork beside threads, which is the point
        child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(read)
            data = function()
            with os.fdopen(write, "wb") as pipe:
                pipe.write(data)
            status = 0
        finally:
            os._exit(status)
    os.close(write)
    parts = []
    try:
        with os.fdopen(read, "rb", buffering=0) as pipe:
            while select.select([pipe], [], [], 60)[0]:
                part = pipe.read(1 << 16)
                if not part:
                    break
                parts.append(part)
            else:
                os.kill(child, signal.SIGKILL)
    finally:
        _, status = os.waitpid(child, 0)
    return b"".join(parts) if status == 0 else None


def check_promotion(device: Device) -> Callable[[Tally], None]:
    """Mixed dtypes and Python numbers give on the device what they give on the reference."""

    def run(tally: Tally) -> None:
        where = detect.resolve("reference")
        held = [d for d in dtypes.all_dtypes if d in device.backend.dtypes]
        rng = rng_for("promotion")
        for a in held:
            left = values(rng, (7,), a, (0, 5))
            others: list[Any] = [*(values(rng, (7,), b, (1, 5)) for b in held), 2, 1.5, True]
            for right in others:
                with tally.case(f"{a} with {right.dtype if isinstance(right, np.ndarray) else repr(right)}"):
                    (ours, error), (theirs, refused) = (
                        _combined(left, right, one) for one in (device, where)
                    )
                    if error or refused:
                        assert "cannot hold" in error or error == refused, (
                            f"{error}, on the reference {refused}"
                        )
                        continue
                    assert ours.dtype == theirs.dtype, f"{ours.dtype}, on the reference {theirs.dtype}"
                    bound = np.abs(theirs.astype(np.complex128)) * 1e-2 if a.kind in "fc" else 0
                    found = mismatch(ours, theirs, bound)
                    assert not found, found
                    tally.compare(7)

    return run


def _combined(left: Host, right: Any, device: Device) -> tuple[Host, str]:
    """A sum (for bools a comparison) of an array and an array or number, or why it is refused."""
    x = upload(left, device)
    y = from_data(right, None, device) if isinstance(right, np.ndarray) else right
    try:
        return host(x + y if x.dtype.kind != "b" else x == y), ""
    except DTypeError as error:
        return left, str(error)
