"""The layer in which numbers stop being finite is named."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

import mlcore as ml
from mlcore import nn
from mlcore.train import NonFiniteError, detect_nonfinite

INF = float("inf")


class Log(nn.Module):
    def forward(self, x: Any) -> Any:
        return ml.log(x)


class Root(nn.Module):
    """0 forward, an infinite gradient backward."""

    def forward(self, x: Any) -> Any:
        return ml.sqrt(x * 0.0)


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(2, 3, batch_first=True)
        self.tail = nn.Sequential(nn.Linear(3, 3), Root())

    def forward(self, x: Any) -> Any:
        out, (h, c) = self.lstm(x)
        return {"out": self.tail(out), "state": [h, c]}


@pytest.fixture(params=dict.fromkeys(["reference:0", ml.default_device().id]))
def device(request: pytest.FixtureRequest) -> Any:
    with ml.device(request.param):
        yield


@pytest.mark.usefixtures("device")
def test_the_first_layer_of_the_forward_pass() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Sequential(Log(), nn.ReLU()), nn.Linear(2, 1))
    with ml.no_grad():
        net[0].weight[...] = ml.zeros((2, 2))
        net[0].bias[...] = ml.asarray([-1.0, 0.0])
    with (
        pytest.raises(
            NonFiniteError,
            match=r"output of '1\.0' \(Log\) is not finite: 1 of 2 nan, 1 infinite\n(?s:.*)it arises here",
        ) as caught,
        detect_nonfinite(net),
    ):
        net(ml.ones((1, 2)))
    assert caught.value.layer == "1.0"
    assert isinstance(caught.value, FloatingPointError)
    assert pickle.loads(pickle.dumps(caught.value)).layer == "1.0"
    with detect_nonfinite(net, forward=False):
        net(ml.ones((1, 2)))
    net(ml.ones((1, 2)))  # outside the block nothing is looked at
    with ml.no_grad():
        net[0].weight[...] = ml.asarray([[INF, 0.0], [0.0, 1.0]])
    with (
        pytest.raises(
            NonFiniteError, match=r"(?s)'0' \(Linear\).*parameters are not finite: 'weight' \(1 of 4"
        ),
        detect_nonfinite(net),
    ):
        net(ml.ones((1, 2)))


@pytest.mark.usefixtures("device")
def test_the_first_layer_of_the_backward_pass() -> None:
    net = Pair()
    with (
        pytest.raises(
            NonFiniteError,
            match=r"gradient of the output of 'tail\.0' \(Linear\) is not finite: 12 of 12 nan",
        ) as caught,
        detect_nonfinite(net),
    ):
        net(ml.ones((2, 2, 2)))["out"].sum().backward()
    assert caught.value.layer == "tail.0"
    with detect_nonfinite(net, backward=False):
        net(ml.ones((2, 2, 2)))["out"].sum().backward()
    assert all(not hook for hook in (net._hooks, net.tail._hooks))


@pytest.mark.usefixtures("device")
def test_a_parameter_that_no_layer_output_shows() -> None:
    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(ml.zeros((3,)))

        def penalty(self) -> Any:
            return ml.sqrt(self.scale).sum()

    net = nn.Sequential(Bare())
    with (
        pytest.raises(
            NonFiniteError, match=r"gradient of parameter '0\.scale' is not finite: 3 of 3 infinite"
        ),
        detect_nonfinite(net),
    ):
        net[0].penalty().backward()


@pytest.mark.usefixtures("device")
def test_finite_numbers_are_unchanged() -> None:
    ml.manual_seed(0)
    net = nn.Sequential(nn.Embedding(5, 4), nn.LSTM(4, 3))
    indices = ml.asarray([[1, 2], [3, 4]])
    net(indices)[0].sum().backward()
    wanted = [one.grad.tolist() for one in net.parameters()]
    net.zero_grad()
    with detect_nonfinite(net):
        net(indices)[0].sum().backward()
    assert [one.grad.tolist() for one in net.parameters()] == wanted
