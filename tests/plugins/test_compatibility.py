"""The compatibility promise: plugins of API 1.0, never edited since, work; and nothing of its contract is gone.

``python tests/plugins/test_compatibility.py`` writes the contract of the current version beside the older ones, once.
"""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from mlcore.backends import protocol
from mlcore.backends.array_library import ArrayLibraryBackend
from mlcore.plugin import api, hooks, probes, records

HERE = Path(__file__).resolve().parent
FROZEN = HERE / "frozen"
sys.path.insert(0, str(HERE.parent / "packaging"))
from workshop import Workshop  # noqa: E402

# Of the sources of each frozen package: a digest is added for a new minor version, and never changed.
DIGESTS = {"api-1.0": "bbd1982fa32a8b7ed09c2c79bc9185ca59ef77626d45b9036f70453472bec38f"}


def digest(folder: Path) -> str:
    made = hashlib.sha256()
    for path in sorted([folder / "pyproject.toml", *(folder / "src").rglob("*.*")]):
        if path.is_file() and path.suffix in (".py", ".toml") and ".egg-info" not in str(path):
            made.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return made.hexdigest()


def test_the_frozen_packages_are_as_they_were() -> None:
    assert {path.name: digest(path) for path in FROZEN.glob("api-*") if path.is_dir()} == DIGESTS


# ---------------------------------------------------------------- they work


@pytest.fixture(scope="module", params=sorted(DIGESTS))
def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """The packages of one version, copied and really installed."""
    import shutil

    shop = Workshop(tmp_path_factory.mktemp("frozen")).prepare()
    shutil.copytree(FROZEN / request.param, shop.home / "package")
    shop.check("pip install ./package")
    return shop


def test_the_backend_boots_and_trains(shop: Workshop) -> None:
    assert "level L0" in shop.check("mlcore conformance frozen --level 0")
    program = (
        "import mlcore as ml\n"
        "from mlcore.backends import detect\n"
        "from mlcore.testing.models import losses\n"
        "print([r.state for r in ml.backends() if r.name == 'frozen'], ml.ones(2, device='frozen:1?speed=9').sum())\n"
        "first = losses('mlp', detect.resolve('frozen'), 5); again = losses('mlp', detect.resolve('reference'), 5)\n"
        "print(max(abs(a - b) for a, b in zip(first, again)) < 1e-4, first[-1] < first[0])\n"
    )
    (shop.home / "program.py").write_text(program, encoding="utf-8")
    said = shop.check("python program.py", MLCORE_FALLBACK="error").splitlines()
    assert said[0].startswith("['ready'] ")
    assert said[1] == "True True"


@pytest.mark.parametrize(
    ("shown", "state"),
    [("none", "no_hardware"), ("library", "missing_dependency"), ("driver", "driver_too_old")],
)
def test_its_states_are_what_they_were(shop: Workshop, shown: str, state: str) -> None:
    made = shop.run("mlcore doctor frozen --json", FROZEN_VISIBLE_DEVICES=shown)
    assert made.returncode == 2
    assert json.loads(made.stdout)["plugins"][0]["state"] == state


def test_its_hooks_are_called(shop: Workshop) -> None:
    assert shop.check("mlcore frozen") == "still cold\n"
    assert "MLCORE_FROZEN_LEVEL" in shop.check("mlcore config")
    assert "still cold" in shop.run("mlcore doctor").stdout


def test_the_domain_and_the_operation_work(shop: Workshop) -> None:
    code = (
        "import mlcore as ml; print(ml.create_model('frozen/linear', features=3)(ml.ones((2, 3))).shape, "
        "ml.asarray([3.0]).frozen_square().tolist())"
    )
    assert shop.check(f'python -c "{code}"') == "(2, 1) [9.0]\n"
    assert "cases executed" in shop.check("mlcore conformance frozen -k frozen_square")


# ---------------------------------------------------------------- nothing is gone


def contract() -> dict[str, Any]:
    """The contract as data: classes with their attributes, defaults and methods; functions; hooks; names."""
    classes: tuple[type, ...] = (
        api.BackendPlugin, api.DomainPlugin, api.Probe, api.ProbeContext, api.DeviceInfo,
        protocol.Backend, protocol.MemoryStats, hooks.Check, hooks.Specs,
    )  # fmt: skip
    return {
        "states": list(api.STATES),
        "groups": [records.BACKENDS, records.DOMAINS, records.OPS, records.HOOKS],
        "classes": {cls.__name__: described(cls) for cls in classes},
        "probes": {name: parameters(value) for name, value in vars(probes).items()
                   if inspect.isfunction(value) and value.__module__ == probes.__name__ and name[0] != "_"},
        "adapter": parameters(ArrayLibraryBackend.__init__),
    }  # fmt: skip


def described(cls: type) -> dict[str, Any]:
    names: dict[str, Any] = {}
    for name in inspect.get_annotations(cls):
        default = cls.__dict__.get(name, "required")
        names[name] = "" if inspect.ismemberdescriptor(default) else repr(default)
    if dataclasses.is_dataclass(cls):
        names |= {
            field.name: "required"
            if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
            else "optional"
            for field in dataclasses.fields(cls)
        }
    methods = {}
    for name, value in vars(cls).items():
        function = value.__func__ if isinstance(value, classmethod | staticmethod) else value
        if inspect.isfunction(function) and not name.startswith("_"):
            methods[name] = parameters(function)
        elif isinstance(value, property):
            names[name] = "property"
    return {"names": names, "methods": methods}


def parameters(function: Any) -> dict[str, list[Any]]:
    """{name: [kind, has a default]} in order."""
    return {
        name: [str(one.kind.name), one.default is not inspect.Parameter.empty]
        for name, one in inspect.signature(function).parameters.items()
        if name != "self" and one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
    }


def broken(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """What the newer contract breaks of the older one."""
    found = [f"no longer a state: {name}" for name in old["states"] if name not in new["states"]]
    found += [f"no longer a group: {name}" for name in old["groups"] if name not in new["groups"]]
    found += grown("ArrayLibraryBackend", old["adapter"], new["adapter"])
    for name, given in old["probes"].items():
        found += grown(f"probes.{name}", given, new["probes"].get(name))
    for cls, was in old["classes"].items():
        now = new["classes"].get(cls)
        if now is None:
            found.append(f"{cls} is gone")
            continue
        found += [f"{cls}.{name} is gone" for name in was["names"] if name not in now["names"]]
        found += [
            f"{cls}.{name} is new and required"
            for name, default in now["names"].items()
            if name not in was["names"] and default == "required"
        ]
        for method, given in was["methods"].items():
            found += grown(f"{cls}.{method}", given, now["methods"].get(method))
    found += [
        f"a backend must have {name} now"
        for name in new["classes"]["Backend"]["methods"]
        if name not in old["classes"]["Backend"]["methods"]
    ]
    return found


def grown(what: str, was: dict[str, list[Any]], now: dict[str, list[Any]] | None) -> list[str]:
    """What is wrong with a newer signature: the old parameters lead, in order; new ones have defaults."""
    if now is None:
        return [f"{what} is gone"]
    found = [f"{what}: {name} is gone or has changed" for name in was
             if name not in now or now[name][0] != was[name][0] or (was[name][1] and not now[name][1])]  # fmt: skip
    if not found and [name for name in now if name in was] != list(was):
        found.append(f"{what}: the order of its parameters has changed")
    found += [
        f"{what}: {name} is new and has no default" for name in now if name not in was and not now[name][1]
    ]
    return found


@pytest.mark.parametrize("version", sorted(DIGESTS))
def test_nothing_of_the_contract_is_gone(version: str) -> None:
    old = json.loads((FROZEN / f"{version}.json").read_text(encoding="utf-8"))
    assert not broken(old, contract())


def test_the_current_version_has_its_contract_frozen() -> None:
    """A new minor version brings a frozen package and its contract; a change without one is found by the next."""
    assert f"api-{api.PLUGIN_API}" in DIGESTS


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: c["states"].remove("no_hardware"), "no longer a state: no_hardware"),
        (lambda c: c["classes"].pop("Probe"), "Probe is gone"),
        (lambda c: c["classes"]["DeviceInfo"]["names"].pop("uuid"), "DeviceInfo.uuid is gone"),
        (lambda c: c["classes"]["DeviceInfo"]["names"].update(slot="required"), "DeviceInfo.slot is new and required"),
        (lambda c: c["classes"]["Backend"]["methods"].update(close={}), "a backend must have close now"),
        (lambda c: c["classes"]["BackendPlugin"]["methods"]["open"].update(x=["KEYWORD_ONLY", False]), "x is new"),
        (lambda c: c["probes"]["loads"].pop("limit"), "probes.loads: limit is gone or has changed"),
    ],
)  # fmt: skip
def test_a_breach_is_found(change: Any, says: str) -> None:
    new = json.loads(json.dumps(contract()))
    assert not broken(contract(), new)
    change(new)
    assert any(says in line for line in broken(contract(), new))


@pytest.mark.parametrize(
    ("ours", "theirs", "fits"),
    [
        ("1.0", "1.0", True),
        ("1.4", "1.0", True),
        ("1.0", "1.1", False),
        ("2.0", "1.9", False),
        ("1.9", "2.0", False),
    ],
)
def test_the_handshake(ours: str, theirs: str, fits: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "PLUGIN_API", ours)
    assert (api.check_api(theirs) == "") == fits


if __name__ == "__main__":
    target = FROZEN / f"api-{api.PLUGIN_API}.json"
    assert not target.exists(), "it is frozen"
    target.write_text(json.dumps(contract(), indent=1) + "\n", encoding="utf-8")
