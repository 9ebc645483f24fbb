"""Silero's voice detector, as published, on a sentence that somebody read: frame by frame beside ONNX Runtime."""

from __future__ import annotations

import os
import wave

import mlcore_onnx
import numpy as np
import pytest

import mlcore as ml

FRAME, CONTEXT, RATE = 512, 64, 16000
SENTENCE = "librivox/sense_and_sensibility_01_austen_64kb-0870.wav"


def runtime():
    if "MLCORE_LEG" not in os.environ:
        pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    import onnxruntime

    return onnxruntime


pytestmark = pytest.mark.assets


@pytest.fixture(scope="module")
def speech(mlcore_asset) -> np.ndarray:
    """The sentence, as numbers from -1 to 1."""
    with wave.open(str(mlcore_asset("speech") / SENTENCE)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (RATE, 1, 2)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32768


@pytest.fixture(scope="module")
def frames(speech) -> list[np.ndarray]:
    """Pieces of 512 samples, each behind the last 64 of the piece before."""
    sound = np.concatenate([np.zeros(CONTEXT, np.float32), speech])
    starts = range(0, len(sound) - FRAME - CONTEXT, FRAME)
    return [sound[None, start : start + FRAME + CONTEXT] for start in starts]


def session_of(path):
    ort = runtime()
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1  # its threads spin where ours would work
    return ort.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize(
    ("name", "device", "most"),
    [
        ("silero_vad.onnx", "cpu", None),
        ("silero_vad.onnx", "reference", 40),
        ("silero_vad_16k_op15.onnx", "cpu", 120),
        ("silero_vad_16k_op15.onnx", "reference", 40),
        ("silero_vad_half.onnx", "cpu", 120),
        ("silero_vad_op18_ifless.onnx", "cpu", 120),
        ("silero_vad_openvino_16k.onnx", "cpu", 120),
    ],
)
def test_it_hears_what_onnx_runtime_hears(name, device, most, mlcore_asset, frames) -> None:
    path = mlcore_asset("silero_vad") / name
    session = session_of(path)
    states = {"ours": np.zeros((2, 1, 128), np.float32), "theirs": np.zeros((2, 1, 128), np.float32)}
    heard, worst, count = [], 0.0, 0
    with ml.device(device), ml.no_grad():
        model = mlcore_onnx.load(path)
        for frame in frames[:most]:
            given = {"input": frame, "sr": np.asarray(RATE, np.int64)}
            given = {one: given[one] for one in model.input_names if one != "state"}
            theirs = session.run(None, {**given, "state": states["theirs"]})
            ours = [np.asarray(one) for one in model(**given, state=states["ours"])]
            states = {"ours": ours[1], "theirs": theirs[1]}
            worst = max(worst, *(float(np.abs(a - b).max()) for a, b in zip(ours, theirs, strict=True)))
            heard.append(float(ours[0].reshape(-1)[0]))
            count += 1
    part = np.mean(np.array(heard) > 0.5)
    print(f"\n{name} on {device}: {count} frames, at most {worst:.1e} apart, speech in {part:.0%}")
    assert worst < 1e-4
    assert part > 0.7  # somebody does speak


def test_the_whole_sequence_at_once(mlcore_asset, frames) -> None:
    path = mlcore_asset("silero_vad") / "silero_vad_16k_sequence.onnx"
    pieces = np.concatenate(frames)
    zero = np.zeros((1, 1, 128), np.float32)
    with ml.device("cpu"), ml.no_grad():
        ours = mlcore_onnx.load(path)(pieces, zero, zero)
    theirs = session_of(path).run(None, {"input": pieces, "h": zero, "c": zero})
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(np.asarray(one), other, atol=1e-4)


def test_it_can_be_trained(mlcore_asset, frames) -> None:
    """A step along the gradient of one frame's probability makes it larger."""
    model = mlcore_onnx.load(mlcore_asset("silero_vad") / "silero_vad_16k_op15.onnx", device="cpu")
    names = [name for name, _ in model.named_parameters()]
    assert "model.encoder.0.reparam_conv.weight" in names
    given = (frames[20], np.zeros((2, 1, 128), np.float32), np.asarray(RATE, np.int64))
    before = model(*given)[0].sum()
    before.backward()
    seen = [
        name
        for name, one in model.named_parameters()
        if one.grad is not None and float(ml.max(ml.abs(one.grad))) > 0
    ]
    assert len(seen) > 10, f"{len(seen)} of {len(names)}: {seen}"
    with ml.no_grad():
        for one in model.parameters():
            if one.grad is not None:
                one += 1e-3 * one.grad
    assert float(model(*given)[0].sum()) > float(before)
