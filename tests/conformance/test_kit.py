"""The kit itself: what it says about the reference, its expectations, its report, its command and its plugin."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mlcore as ml
from mlcore.backends.device import Device
from mlcore.backends.reference import ReferenceBackend
from mlcore.errors import ArgumentError, FormatError
from mlcore.ops import registry
from mlcore.testing import assert_close, gradcheck, gradgradcheck, ulps
from mlcore.testing.expectations import Expectations, read
from mlcore.testing.kit import Kit, conformance, matcher

ROOT = Path(__file__).resolve().parents[2]


class WithoutTanh(ReferenceBackend):
    """A backend with a gap: nothing composes tanh, so it runs on the host."""

    def kernel(self, op: object) -> object:
        return None if op.name == "tanh" else super().kernel(op)


class WrongTanh(ReferenceBackend):
    """A backend that is wrong in one place."""

    def kernel(self, op: object) -> object:
        return (lambda x: x * 0) if op.name == "tanh" else super().kernel(op)


def device(kind: type[ReferenceBackend]) -> Device:
    made = Device("toy")
    made.backend = kind(made)
    return made


def run_python(*arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder or ROOT,
        env={**os.environ, "PYTHONPATH": str(Path(ml.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
    )


def test_the_reference_passes_all_of_the_quick_kit() -> None:
    report = conformance("reference", quick=True)
    assert report.achieved() == 1
    assert report.cases > 10_000
    assert report.counts()["xfailed"] == 0


def test_every_operation_has_units() -> None:
    kit = Kit("reference")
    for op in registry.all_ops():
        if op.rule is not None:
            kinds = {unit.id.partition("/")[0] for unit in kit.units if unit.op == op.name}
            assert {"values", "repeat", "errors"} <= kinds, f"{op.name}: {kinds}"


def test_no_check_names_an_operation() -> None:
    """Only the reference models and the random draws may; everything else comes from the declarations."""
    names = {op.name for op in registry.all_ops()}
    for path in (ROOT / "mlcore" / "testing").glob("*.py"):
        if path.name not in ("models.py", "device_checks.py"):
            words = set(re.findall(r'"([a-z_0-9]+)"', path.read_text(encoding="utf-8")))
            assert not words & (names - {"any", "all", "max", "min", "real", "where"}), path.name


# -- expectations --------------------------------------------------------------------------------------------------


def test_a_failure_that_is_expected_is_none() -> None:
    expected = Expectations(xfail={"values/tanh/float32": "the chip has no tanh"})
    report = Kit(device(WrongTanh), quick=True, expectations=expected).run("values/tanh/float32")
    assert report.ok
    assert report.counts()["xfailed"] == 1
    assert report.paths["tanh"]["xfail"] == 1


def test_an_unexpected_pass_fails() -> None:
    expected = Expectations(xfail={"values/exp/*": "was broken once"})
    report = Kit("reference", quick=True, expectations=expected).run("values/exp/float32")
    assert not report.ok
    assert "take the entry out" in report.failures_text()


def test_an_unknown_entry_fails() -> None:
    expected = Expectations(xfail={"values/expp/float32": "a slip"}, host={"tanhh": "another"})
    report = Kit("reference", quick=True, expectations=expected).run("expectations")
    assert not report.ok
    assert "'values/expp/float32' matches no unit" in report.failures_text()
    assert "'tanhh' is no operation" in report.failures_text()


def test_a_fallback_that_is_not_listed_fails() -> None:
    report = Kit(device(WithoutTanh), quick=True).run("values/tanh/float32")
    assert not report.ok
    assert "has no kernel for float32" in report.failures_text()


def test_a_fallback_that_is_listed_passes_and_shows() -> None:
    expected = Expectations(host={"tanh": "the library has none"})
    report = Kit(device(WithoutTanh), quick=True, expectations=expected).run("values/tanh/ or expectations")
    assert report.ok, report.failures_text()
    assert report.paths["tanh"]["host"] > 0


def test_a_listed_fallback_that_is_none_fails() -> None:
    expected = Expectations(host={"tanh": "the library had none"})
    report = Kit("reference", quick=True, expectations=expected).run("expectations")
    assert "take the entry out" in report.failures_text()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[xfail]\n"a" = ""\n', "has no reason"),
        ("[oops]\n", "unknown table [oops]"),
        ("[xfail\n", "conformance.toml"),
        ("xfail = 3\n", "has no reason"),
    ],
)
def test_a_file_that_is_wrong_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "conformance.toml"
    path.write_text(text)
    with pytest.raises(FormatError, match=re.escape(said)):
        read(path)


def test_the_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "conformance.toml"
    path.write_text('[xfail]\n"values/tanh/*" = "wrong chip"\n[host]\n"erf" = "none"\n')
    found = read(path)
    assert found.reason("values/tanh/float32") == "wrong chip"
    assert found.host == {"erf": "none"}


# -- choosing, reporting -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["(", "a and", "not", "a b", ")", "a or or b"])
def test_an_expression_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(ArgumentError, match="cannot read the expression"):
        matcher(text)


def test_an_expression_that_matches_nothing_is_refused() -> None:
    with pytest.raises(ArgumentError, match="no unit matches"):
        Kit("reference", quick=True).run("no-such-unit")


def test_the_digest_is_of_what_a_rerun_reproduces() -> None:
    kit = Kit("reference", quick=True)
    first, second = (kit.run("values/exp").to_json()["digest"] for _ in range(2))
    other = kit.run("values/sin/").to_json()["digest"]
    assert first == second != other


def test_the_command(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    made = run_python(
        "-m", "mlcore", "conformance", "reference", "--quick", "-k", "tanh", "-n", "2", "--report", str(path)
    )
    assert made.returncode == 0, made.stdout + made.stderr
    assert re.search(r"[\d,]+ cases executed, [\d,]+ elements compared", made.stdout)
    assert "operation" in made.stdout
    content = json.loads(path.read_text())
    assert content["counts"]["failed"] == 0
    assert len(content["digest"]) == 64


def test_the_command_measures_fast_paths() -> None:
    made = run_python(
        "-m", "mlcore", "conformance", "reference", "--level", "2", "--quick", "-k", "values/tanh/float32"
    )
    assert made.returncode == 0, made.stdout + made.stderr
    assert "fast paths slower than their composite" in made.stdout


def test_the_command_for_an_unknown_backend() -> None:
    made = run_python("-m", "mlcore", "conformance", "refrence")
    assert made.returncode == 2
    assert "did you mean 'reference'" in made.stderr


def test_a_process_that_dies_costs_its_unit_only(tmp_path: Path) -> None:
    """A worker of a run that is killed from inside is a failure of that unit; the others are run."""
    (tmp_path / "dying.py").write_text(
        "import os, sys\n"
        "from mlcore.backends.reference import ReferenceBackend\n"
        "right = ReferenceBackend.kernel\n"
        "def kernel(self, op):\n"
        "    return (lambda x: os._exit(9)) if op.name == 'tanh' and self.device.type == 'reference' and "
        "'spawn_main' in ' '.join(sys.orig_argv) else right(self, op)\n"
        "ReferenceBackend.kernel = kernel\n"
        "from mlcore.testing.kit import Kit\n"
        "if __name__ == '__main__':\n"
        "    report = Kit('reference', quick=True).run('values/tanh/float or values/exp/float', workers=2)\n"
        "    print(report.counts(), report.failures_text())\n"
    )
    made = run_python("dying.py", folder=tmp_path)
    assert "the process died while running it" in made.stdout, made.stdout + made.stderr
    assert "values/exp" not in made.stdout


# -- the pytest plugin ---------------------------------------------------------------------------------------------


def run_pytest(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    options = ["-p", "mlcore.testing.pytest_plugin", "-p", "no:cacheprovider", "-q", *arguments]
    return run_python("-m", "pytest", *options, folder=folder)


def test_three_lines_in_a_backend_s_own_folder(tmp_path: Path) -> None:
    (tmp_path / "test_conformance.py").write_text(
        'from mlcore.testing.conformance import *\nmlcore_backend = "reference"\nmlcore_level = 0\n'
    )
    made = run_pytest(tmp_path)
    assert made.returncode == 0, made.stdout + made.stderr
    assert "mlcore conformance of reference" in made.stdout
    assert re.search(r"[\d,]+ cases executed", made.stdout)


def test_by_pyargs(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    made = run_pytest(
        tmp_path, "--pyargs", "mlcore.testing.conformance", "--mlcore-backend", "reference", "-k", "tanh",
        "--mlcore-report", str(report),
    )  # fmt: skip
    assert made.returncode == 0, made.stdout + made.stderr
    assert json.loads(report.read_text())["counts"]["failed"] == 0


def test_without_a_backend_it_says_so(tmp_path: Path) -> None:
    made = run_pytest(tmp_path, "--pyargs", "mlcore.testing.conformance", "-rs")
    assert "pass --mlcore-backend" in made.stdout


# -- the public helpers --------------------------------------------------------------------------------------------


def test_assert_close() -> None:
    x = ml.asarray([1.0, float("nan"), float("inf")])
    assert_close(x, np.asarray([1.0 + 1e-7, np.nan, np.inf], dtype=np.float32))
    with pytest.raises(AssertionError, match=r"1 of 3 elements differ; at \(0,\)"):
        assert_close(x, np.asarray([1.1, np.nan, np.inf], dtype=np.float32))
    with pytest.raises(AssertionError, match="dtype float32, expected float64"):
        assert_close(x, np.asarray([1.0, np.nan, np.inf]))
    with pytest.raises(AssertionError, match=r"shape \(3,\), expected \(2,\)"):
        assert_close(x, np.asarray([1.0, np.nan], dtype=np.float32))
    with pytest.raises(AssertionError):
        assert_close(ml.asarray([float("inf")]), np.asarray([-np.inf], dtype=np.float32))
    with pytest.raises(AssertionError):
        assert_close(ml.asarray([2**53 + 1]), np.asarray([2**53]))
    with pytest.raises(ArgumentError, match="only one of rtol and atol"):
        assert_close(x, x, rtol=1e-3)


def test_ulps() -> None:
    one = np.float32(1)
    assert ulps(one, one) == 0
    assert ulps(np.nextafter(one, np.float32(2)), one) == 1
    assert ulps(np.float32(1e-45), np.float32(0)) == 1


def test_gradcheck() -> None:
    x = ml.asarray([0.3, -0.7, 1.1], dtype=ml.float64, requires_grad=True)
    assert gradcheck(lambda v: v.sin() * v, [x])
    assert gradgradcheck(lambda v: (v * v * v).sum(), [x])
    with pytest.raises(AssertionError, match="gradient of input 0"):
        gradcheck(lambda v: v.detach() * v, [x])
    with pytest.raises(ArgumentError, match="differences need float64"):
        gradcheck(lambda v: v * v, [ml.asarray([1.0], requires_grad=True)])
    with pytest.raises(ml.MlcoreError, match="no input requires a gradient"):
        gradcheck(lambda v: v * v, [x.detach()])
