"""Packages made by `mlcore new` work as they stand: installed by pip, through their own checks, on their devices."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from workshop import Workshop  # (a module beside this one)

MADE = {
    "mlcore-toychip": "backend toychip",
    "mlcore-toyboard": "backend toyboard --kind kernels",
    "mlcore-toybirds": "domain toybirds",
    "mlcore-toyclip": "op toyclip",
}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """One package of each kind, and an operation more in the domain's, all installed."""
    shop = Workshop(tmp_path_factory.mktemp("shop")).prepare()
    for arguments in MADE.values():
        shop.check(f"mlcore new {arguments}")
    shop.check("mlcore new op toysmooth --into mlcore-toybirds")
    shop.check("pip install " + " ".join(f"./{folder}" for folder in MADE))
    return shop


def python(shop: Workshop, code: str, **environment: str) -> str:
    return shop.check(f"python -W error -c '{code}'", **environment).strip()


def steps(shop: Workshop, folder: str) -> list[str]:
    """The commands of the package's CI file, but for its installation."""
    text = (shop.home / folder / ".github/workflows/ci.yml").read_text(encoding="utf-8")
    found: list[str] = re.findall(r"^ +- run: (.+)$", text, re.MULTILINE)
    assert found[0] == 'pip install ".[test,lint]"'
    return found[1:]


def needs_compiler(name: str) -> None:
    if "toyboard" in name and shutil.which("g++") is None:
        pytest.skip("g++ is not installed, which the package of kernels compiles with")


@pytest.mark.parametrize("folder", MADE)
def test_its_own_ci_passes(shop: Workshop, folder: str) -> None:
    """Lint, types, tests, conformance and badge, as its CI file says; level 1 is the tutorial's to prove."""
    needs_compiler(folder)
    missing = [tool for tool in ("ruff", "mypy") if importlib.util.find_spec(tool) is None]
    commands = [one for one in steps(shop, folder) if one.partition(" ")[0] not in missing]
    assert {one.partition(" ")[0] for one in commands} >= {"pytest", "mlcore"}
    for command in commands:
        said = shop.check(command.replace("--level 1", "--level 0"), folder)
        if command == "pytest":
            passed = re.findall(r"(\d+) passed", said)[-1]
            print(f"{folder}: {passed} tests of its own")
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


def test_a_wheel_has_everything(shop: Workshop) -> None:
    for package, names in {
        "mlcore_toychip": ["plugin.py", "backend.py", "conformance.toml", "py.typed"],
        "mlcore_toyboard": [
            "plugin.py",
            "backend.py",
            "dialect.py",
            "runtime.py",
            "conformance.toml",
            "py.typed",
        ],
        "mlcore_toybirds": ["plugin.py", "models.py", "toysmooth.py", "py.typed"],
        "mlcore_toyclip": ["toyclip.py", "py.typed"],
    }.items():
        folder = shop.site / package
        assert not [name for name in names if not (folder / name).is_file()]


@pytest.mark.parametrize("name", ["toychip", "toyboard"])
def test_an_untouched_backend_boots(shop: Workshop, name: str) -> None:
    needs_compiler(name)
    assert "level L0" in shop.check(f"mlcore conformance {name} --level 0")


def test_kernels_are_printed_in_the_package_s_own_dialect(shop: Workshop) -> None:
    said = shop.check("mlcore kernel exp --backend toyboard")
    assert 'extern "C" void ml_exp_' in said
    assert "__builtin_expf" in said


@pytest.mark.slow
def test_generated_kernels_are_complete(shop: Workshop) -> None:
    """No operation is left to the host, and the models of level 1 train beside the reference.

    The whole of level 1 compiles thousands of kernels, which takes many minutes: it is run where the templates change.
    """
    needs_compiler("toyboard")
    assert ", 0 host" in shop.check("mlcore coverage toyboard")
    said = shop.check("mlcore conformance toyboard -k 'model/ or gradient/matmul or values/softmax/float32'")
    assert re.search(r"; (\d+) passed of \1 units", said), said[-500:]


def test_a_board_without_its_compiler_says_so(shop: Workshop) -> None:
    empty = shop.home / "empty"
    empty.mkdir(exist_ok=True)
    made = shop.run(f"'{shop.home}/venv/bin/python' -m mlcore doctor toyboard --json", PATH=str(empty))
    (plugin,) = json.loads(made.stdout)["plugins"]
    assert (plugin["state"], plugin["reason"]) == ("missing_dependency", "g++ is not on PATH")


def test_the_domain_is_found_and_makes_models(shop: Workshop) -> None:
    code = (
        'import mlcore as ml; print([(r.name, r.state) for r in ml.domains() if r.name == "toybirds"]);'
        'print(ml.create_model("toybirds/classifier", features=3, classes=2)(ml.ones((1, 3))).shape)'
    )
    assert python(shop, code).splitlines() == ["[('toybirds', 'ready')]", "(1, 2)"]


@pytest.mark.parametrize("name", ["toyclip", "toysmooth"])
def test_the_operations_are_mlcore_s_own(shop: Workshop, name: str) -> None:
    code = (
        "import mlcore as ml; x = ml.asarray([1.0, -3.0], requires_grad=True);"
        f"x.{name}().sum().backward(); print(ml.{name}(x).tolist(), x.grad.tolist())"
    )
    assert python(shop, code) == "[0.5, -0.75] [0.25, 0.0625]"


@pytest.mark.parametrize("device", ["reference", "cpu", "toychip", "toyboard"])
def test_the_operations_conform_everywhere(shop: Workshop, device: str) -> None:
    needs_compiler(device)
    if device == "cpu" and importlib.util.find_spec("mlcore_cpu") is None:
        pytest.skip("mlcore-cpu is not installed")
    said = shop.check(f"mlcore conformance {device} -k '/toyclip or /toysmooth'")
    cases = int(re.findall(r"([\d,]+) cases executed", said)[0].replace(",", ""))
    print(f"{device}: {cases} cases")
    assert cases > 150


# ---------------------------------------------------------------- levels


def levels(shop: Workshop, cache: str) -> dict[str, object]:
    said = shop.run("mlcore doctor toychip --json", MLCORE_CACHE_DIR=str(shop.home / cache)).stdout
    found: dict[str, object] = json.loads(said)["levels"]["toychip"]
    return found


def test_a_level_is_remembered_shipped_and_outdated(shop: Workshop) -> None:
    mine = {"MLCORE_CACHE_DIR": str(shop.home / "levels")}
    assert levels(shop, "levels")["level"] is None
    assert "level: not measured (mlcore conformance toychip)" in shop.check("mlcore coverage toychip", **mine)

    folder = shop.site / "mlcore_toychip"
    shop.check(f"mlcore conformance toychip --level 0 --stamp {folder}/conformance.json", **mine)
    here = levels(shop, "levels")
    assert (here["level"], here["origin"]) == (0, "measured here")
    there = levels(shop, "another")
    assert (there["level"], there["origin"]) == (0, "as its makers say")
    assert "L0 (kit 1.0" in shop.check("mlcore coverage toychip", **mine)

    backend = folder / "backend.py"
    text = backend.read_text(encoding="utf-8")
    backend.write_text(text + "# changed\n", encoding="utf-8")
    try:
        changed = levels(shop, "levels")
        assert (changed["level"], changed["origin"]) == (None, "measured before its code changed")
    finally:
        backend.write_text(text, encoding="utf-8")
        (folder / "conformance.json").unlink()


def test_a_stamp_that_is_none_is_said_so(shop: Workshop) -> None:
    file = shop.site / "mlcore_toychip" / "conformance.json"
    file.write_text("{}", encoding="utf-8")
    try:
        assert "is no conformance stamp" in str(levels(shop, "yet another")["origin"])
    finally:
        file.unlink()


def test_a_part_of_the_kit_makes_no_stamp(shop: Workshop) -> None:
    made = shop.run("mlcore conformance toychip -k device/protocol --stamp x.json")
    assert made.returncode == 2
    assert "--stamp needs a whole run" in made.stderr


def test_a_badge_is_a_picture_or_an_endpoint(shop: Workshop) -> None:
    shop.check("mlcore coverage toychip --badge badge.json && mlcore coverage toychip --badge badge.svg")
    badge = json.loads((shop.home / "badge.json").read_text(encoding="utf-8"))
    assert badge["label"] == "mlcore toychip"
    assert re.fullmatch(r"(L0|not measured), \d+% native, 0 host", badge["message"])
    import xml.etree.ElementTree as ElementTree

    picture = ElementTree.parse(shop.home / "badge.svg").getroot()
    assert picture.get("aria-label") == f"mlcore toychip: {badge['message']}"
    assert shop.run("mlcore coverage toychip --badge badge.png").returncode == 2
