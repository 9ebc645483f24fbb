"""Other people's libraries on mlcore's tensors: SciPy, scikit-learn, einops, opt_einsum."""

from __future__ import annotations

import copy
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mlcore as ml
from mlcore.errors import MlcoreError
from mlcore.testing import gradcheck

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def library(name: str) -> Any:
    """A library of the `test` extra; in a leg of CI it must be there."""
    if os.environ.get("MLCORE_LEG"):
        __import__(name)
    return pytest.importorskip(name)


def run(*command: str, folder: Path) -> str:
    made = subprocess.run(
        [sys.executable, "-W", "error", *command], cwd=folder, env=os.environ, capture_output=True, text=True,
        check=False, timeout=250,
    )  # fmt: skip
    assert made.returncode == 0, made.stdout + made.stderr
    return made.stdout


@pytest.mark.parametrize(
    ("program", "needs", "least"), [("scipy_run", "scipy", 100), ("sklearn_run", "sklearn", 70)]
)
def test_whole_library(program: str, needs: str, least: int, tmp_path: Path) -> None:
    library(needs)
    said = run(str(HERE / f"{program}.py"), folder=tmp_path)
    print(said)
    assert int(re.findall(r"\d+", said)[0]) >= least


def test_the_example_runs(tmp_path: Path) -> None:
    for name in ("sklearn", "scipy", "einops", "opt_einsum"):
        library(name)
    print(run(str(ROOT / "examples" / "other_libraries.py"), folder=tmp_path))


# -- einops -----------------------------------------------------------------------------------------------------

REARRANGED = [
    ((2, 3, 4, 5), "a b c d -> d c b a", {}),
    ((2, 6, 4), "a (b c) d -> (a b) c d", {"b": 2}),
    ((2, 3), "a b -> a 1 b", {}),
    ((2, 3, 4), "a ... -> ... a", {}),
    ((2, 1, 3), "a () b -> b a", {}),
    ((), "-> 1", {}),
]


@pytest.mark.parametrize("dtype", ["float32", "int64", "bool", "complex64", "float16"])
def test_einops_rearranges(dtype: str) -> None:
    einops = library("einops")
    for shape, pattern, sizes in REARRANGED:
        host = np.random.default_rng(0).integers(0, 9, size=shape).astype(dtype)
        found = einops.rearrange(ml.asarray(host), pattern, **sizes)
        np.testing.assert_array_equal(np.asarray(found), einops.rearrange(host, pattern, **sizes))
        assert found.dtype.name == dtype


def test_einops_reduces_repeats_packs_and_sums() -> None:
    einops = library("einops")
    host = np.random.default_rng(0).standard_normal((2, 3, 4, 6))
    x = ml.asarray(host)
    for operation in ("max", "min", "sum", "mean", "prod"):
        for pattern in ("a b c d -> a d", "a b (c e) (d f) -> a b c d", "a b c d ->"):
            sizes = {"e": 2, "f": 3} if "e" in pattern.partition("->")[0] and "(c e)" in pattern else {}
            found = einops.reduce(x, pattern, operation, **sizes)
            np.testing.assert_allclose(
                np.asarray(found), einops.reduce(host, pattern, operation, **sizes), rtol=1e-12
            )
    np.testing.assert_array_equal(
        np.asarray(einops.repeat(x, "a b c d -> a (b r) c d s", r=2, s=3)),
        einops.repeat(host, "a b c d -> a (b r) c d s", r=2, s=3),
    )
    packed, shapes = einops.pack([x, x[0, 0]], "* c d")
    assert packed.shape == (7, 4, 6)
    back = einops.unpack(packed, shapes, "* c d")
    np.testing.assert_array_equal(np.asarray(back[0]), host)
    found = einops.einsum(x, ml.asarray(host), "a b c d, a b c e -> a b d e")
    np.testing.assert_allclose(np.asarray(found), np.einsum("abcd,abce->abde", host, host), rtol=1e-12)
    assert einops.parse_shape(x, "a _ b c") == {"a": 2, "b": 4, "c": 6}
    assert einops.asnumpy(x).tolist() == host.tolist()
    assert einops.rearrange([x, x], "n a b c d -> a b c d n").shape == (2, 3, 4, 6, 2)


def test_einops_is_differentiable() -> None:
    einops = library("einops")
    x = ml.asarray(np.random.default_rng(0).standard_normal((2, 4, 3))).requires_grad_()
    assert gradcheck(
        lambda v: (
            einops.reduce(einops.rearrange(v, "a (b c) d -> a b c d", b=2), "a b c d -> b d", "mean") ** 2
        ),
        [x],
    )


def test_einops_by_the_array_api_alone() -> None:
    array_api = pytest.importorskip("einops.array_api")
    x = ml.arange(24)
    assert array_api.rearrange(x, "(a b c) -> c b a", a=2, b=3).shape == (4, 3, 2)
    assert array_api.reduce(ml.reshape(x, (4, 6)), "a b -> b", "sum").tolist() == list(range(36, 60, 4))


@pytest.mark.parametrize("order", ["einops, mlcore", "mlcore, einops"])
def test_einops_in_any_order_of_imports(order: str, tmp_path: Path) -> None:
    library("einops")
    code = f"import {order}; print(einops.rearrange(mlcore.ones((2, 3)), 'a b -> b a').shape); import einops.layers"
    assert run("-c", code, folder=tmp_path).strip() == "(3, 2)"


def test_mlcore_does_not_need_einops(tmp_path: Path) -> None:
    assert run("-c", "import sys, mlcore; print('einops' in sys.modules)", folder=tmp_path).strip() == "False"


def test_the_modules_of_einops_keep_their_loader() -> None:
    backends = library("einops")._backends
    assert type(backends.__loader__).__module__.partition(".")[0] != "mlcore"
    assert backends.__spec__.loader is backends.__loader__


def test_layers_of_einops() -> None:
    library("einops")
    from mlcore import nn
    from mlcore.adapters.einops_layers import EinMix, Rearrange, Reduce

    ml.manual_seed(0)
    net = nn.Sequential(
        Rearrange("b (h p) (w q) -> b (h w) (p q)", p=2, q=2),
        EinMix("b t i -> b t o", weight_shape="i o", bias_shape="o", i=4, o=3),
        nn.ReLU(),
        EinMix("b t (h c) -> b (t h) d", weight_shape="c d", h=1, c=3, d=5),
        Reduce("b t d -> b d", "mean"),
    )
    assert sorted(net.state_dict()) == ["1.bias", "1.weight", "3.weight"]
    x = ml.random.normal((2, 4, 6))
    y = net(x)
    assert y.shape == (2, 5)
    y.sum().backward()
    assert all(p.grad is not None for p in net.parameters())
    first = net[1]
    patches = np.asarray(net[0](x))
    wanted = patches @ np.asarray(first.weight.detach()) + np.asarray(first.bias.detach())
    np.testing.assert_allclose(np.asarray(first(net[0](x)).detach()), wanted, rtol=1e-5, atol=1e-6)
    assert abs(float(ml.max(ml.abs(first.weight)).item())) <= (3 / 4) ** 0.5
    assert "p=2" in repr(net[0])
    assert copy.deepcopy(net[0])(x).shape == (2, 6, 4)


def test_errors_of_einops_stay_theirs() -> None:
    einops = library("einops")
    with pytest.raises(einops.EinopsError, match="can't divide axis"):
        einops.rearrange(ml.ones((3, 2)), "(a b) c -> a b c", a=2)
    assert not issubclass(einops.EinopsError, MlcoreError)


# -- opt_einsum -------------------------------------------------------------------------------------------------

PRODUCTS = [
    "ij,jk,kl->il",
    "ab,bc,cd,de->ae",
    "abc,bd,cd->ad",
    "ij,ij,jk->ki",
    "aab,bc->ac",
    "abc->ca",
    "ij,kl->",
]


@pytest.mark.parametrize("expression", PRODUCTS)
def test_opt_einsum(expression: str) -> None:
    opt_einsum = library("opt_einsum")
    rng = np.random.default_rng(0)
    sizes = {letter: 2 + i % 3 for i, letter in enumerate("abcdeijkl")}
    terms = expression.partition("->")[0].split(",")
    hosts = [rng.standard_normal([sizes[c] for c in term]) for term in terms]
    wanted = np.einsum(expression, *hosts)
    tensors = [ml.asarray(host).requires_grad_() for host in hosts]
    found = opt_einsum.contract(expression, *tensors)
    assert isinstance(found, ml.Tensor)
    np.testing.assert_allclose(np.asarray(found.detach()), wanted, rtol=1e-10)
    prepared = opt_einsum.contract_expression(expression, *[host.shape for host in hosts])
    np.testing.assert_allclose(np.asarray(prepared(*tensors).detach()), wanted, rtol=1e-10)
    np.testing.assert_allclose(np.asarray(ml.einsum(expression, *tensors).detach()), wanted, rtol=1e-10)
    assert gradcheck(lambda *some: opt_einsum.contract(expression, *some), tensors)
