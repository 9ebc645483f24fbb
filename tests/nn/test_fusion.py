"""What a Sequential computes together is what its layers compute one after the other."""

import numpy as np
import pytest

import mlcore as ml
from mlcore import dispatch, nn


def apart(layers, x):
    for one in layers:
        x = one(x)
    return x


def ops_of(call):
    seen = []

    def note(op, inputs, params, proceed):
        seen.append(op.name)
        return proceed()

    with dispatch.intercept(note):
        result = call()
    return result, seen


def network(act=nn.ReLU6, **how):
    ml.manual_seed(0)
    made = nn.Sequential(
        nn.Conv2d(5, 24, 1, bias=True), nn.BatchNorm2d(24), act(),
        nn.Conv2d(24, 24, 3, padding=1, groups=24, bias=False), nn.BatchNorm2d(24, affine=False), act(),
        nn.Conv2d(24, 7, 3, stride=2, **how), nn.BatchNorm2d(7), nn.Conv2d(7, 4, 1),
    )  # fmt: skip
    made(ml.random.normal((4, 5, 9, 8)) * 2 + 1)  # statistics that are not 0 and 1
    return made


@pytest.mark.parametrize("act", [nn.ReLU, nn.ReLU6])
def test_evaluation_is_the_layers_one_after_the_other(act):
    made, x = network(act).eval(), ml.random.normal((3, 5, 9, 8))
    with ml.no_grad():
        together, seen = ops_of(lambda: made(x))
        expected = apart(made, x)
    assert seen == ["convolution_norm"] * 3 + ["convolution"]
    np.testing.assert_allclose(np.asarray(together), np.asarray(expected), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("act", [nn.ReLU, nn.ReLU6])
@pytest.mark.parametrize("training", [True, False])
def test_gradients_are_those_of_the_layers(act, training):
    one, other, x = network(act), network(act), ml.random.normal((3, 5, 9, 8))
    one.train(training)
    other.train(training)
    _, seen = ops_of(lambda: (one(x) ** 2).sum().backward())
    (apart(other, x) ** 2).sum().backward()
    assert "convolution_norm" not in seen
    assert not training or not {"relu", "relu6", "relu_grad", "relu6_grad"} & set(seen)
    for (name, p), (_, q) in zip(one.named_parameters(), other.named_parameters(), strict=True):
        scale = np.abs(np.asarray(q.grad)).max()
        np.testing.assert_allclose(np.asarray(p.grad), np.asarray(q.grad), atol=2e-4 * scale, err_msg=name)
    for (name, p), (_, q) in zip(one.named_buffers(), other.named_buffers(), strict=True):
        np.testing.assert_allclose(np.asarray(p), np.asarray(q), rtol=1e-5, err_msg=name)


class Doubled(nn.ReLU):
    def forward(self, input):
        return super().forward(input) * 2


class Shifted(nn.BatchNorm2d):
    def forward(self, input):
        return super().forward(input) + 1


def test_layers_of_ones_own_and_watched_layers_are_called():
    x = ml.random.normal((2, 3, 4, 4))
    with ml.no_grad():
        for layers in (
            [nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), Doubled()],
            [nn.Conv2d(3, 4, 1), Shifted(4), nn.ReLU()],
        ):
            made = nn.Sequential(*layers).eval()
            np.testing.assert_allclose(
                np.asarray(made(x)), np.asarray(apart(layers, x)), rtol=1e-5, atol=1e-6
            )
        for place in range(3):
            made, heard = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU()).eval(), []
            handle = made[place].register_forward_hook(
                lambda module, args, out, heard=heard: heard.append(out)
            )
            y = made(x)
            assert len(heard) == 1
            handle.remove()
            np.testing.assert_allclose(np.asarray(y), np.asarray(made(x)), rtol=1e-5, atol=1e-6)
        made = nn.Sequential(nn.BatchNorm2d(3), nn.ReLU()).eval()
        made[1].forward = lambda input: input - 5
        np.testing.assert_allclose(np.asarray(made(x)), np.asarray(apart(made, x)))


@pytest.mark.parametrize(
    "layers",
    [
        lambda: [nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"), nn.BatchNorm2d(4), nn.ReLU()],
        lambda: [nn.Conv2d(3, 4, 3, padding="same"), nn.BatchNorm2d(4), nn.ReLU()],
        lambda: [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False), nn.ReLU()],
        lambda: [nn.Conv2d(3, 4, 3, dtype=ml.float64), nn.BatchNorm2d(4, dtype=ml.float64), nn.ReLU()],
    ],
)
def test_layers_that_stay_apart_or_have_another_dtype(layers):
    made = layers()
    x = ml.random.normal((2, 3, 6, 5)).to(made[0].weight.dtype)
    whole = nn.Sequential(*made).eval()
    with ml.no_grad():
        np.testing.assert_allclose(np.asarray(whole(x)), np.asarray(apart(made, x)), rtol=1e-5, atol=1e-6)


def test_one_image_without_its_batch_dimension():
    made = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()
    with ml.no_grad(), pytest.raises(ml.errors.ShapeError, match="BatchNorm2d: expected"):
        made(ml.zeros((3, 6, 6)))


def test_an_error_names_the_layer_that_it_is_in():
    made = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).eval()
    with ml.no_grad(), pytest.raises(ml.errors.ShapeError, match=r"in: +Sequential\.0, Conv2d") as caught:
        made(ml.zeros((1, 5, 6, 6)))
    assert "5 channels" in str(caught.value)
    wrong = nn.Sequential(nn.BatchNorm2d(4), nn.ReLU())
    with pytest.raises(ml.errors.ShapeError, match=r"in: +Sequential\.0, BatchNorm2d"):
        wrong(ml.zeros((2, 5, 6, 6)))


def test_mixed_precision_keeps_its_dtypes():
    made, x = network().eval(), ml.random.normal((3, 5, 9, 8))
    with ml.no_grad(), ml.autocast(dtype=ml.bfloat16):
        together, expected = made(x), apart(made, x)
    assert together.dtype is expected.dtype
    np.testing.assert_array_equal(np.asarray(together.to(ml.float32)), np.asarray(expected.to(ml.float32)))
