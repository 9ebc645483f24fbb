"""Every state a plugin can be in, each produced by an installed distribution that is in it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

STATES = """
import json
from mlcore.plugin import discovery
records = [*discovery.backends(), *discovery.domains()]
print(json.dumps({r.qualified: r.to_json() for r in records}))
"""

# distribution -> state, part of the reason, part of the fix
EXPECTED = {
    "healthy": ("ready", "", ""),
    "needslib": (
        "missing_dependency",
        "needs no-such-library>=2, which is not installed",
        "pip install 'no-such-library>=2'",
    ),
    "oldlib": ("missing_dependency", "needs numpy>=999; numpy ", "pip install 'numpy>=999'"),
    "importsmissing": (
        "missing_dependency",
        "mlcore_test_importsmissing imports 'no_such_chip_library', which is not installed",
        "install 'no_such_chip_library'",
    ),
    "conflicting": ("broken", "cannot be used beside numpy>=1, which is installed", "pip uninstall numpy"),
    "futureapi": (
        "incompatible_api",
        "speaks plugin API 2.0, this mlcore speaks 1.0",
        "install a version of mlcore-test-futureapi made for this mlcore",
    ),
    "futurecore": ("incompatible_api", "needs mlcore-core>=999", "pip install 'mlcore-core>=999'"),
    "nohardware": ("no_hardware", "no /dev/no-such-chip* device", "load the driver no_such_chip"),
    "olddriver": (
        "driver_too_old",
        "driver 525.60 found; olddriver 1.0 needs 527 or newer",
        "update the driver",
    ),
    "raises": (
        "broken",
        "raised OSError: libmychip.so.3: cannot open shared object file: No such file or directory "
        "while loading mlcore_test_raises",
        "leave it out with MLCORE_BACKENDS=!raises",
    ),
    "exits": (
        "broken",
        "raised SystemExit: no licence while loading mlcore_test_exits",
        "MLCORE_BACKENDS=!exits",
    ),
    "hardexit": (
        "crashed",
        "ended the process (exit status 7) while probing in a child process",
        "mlcore doctor hardexit --retry",
    ),
    "segfault": (
        "crashed",
        "crashed (SIGSEGV) while probing in a child process",
        "mlcore doctor segfault --retry",
    ),
    "raisesinprobe": ("broken", "raised OSError: the chip is on fire while probing", "MLCORE_BACKENDS=!"),
    "badanswer": ("broken", "its probe returned str, not a Probe", "mlcore-test-badanswer"),
    "badid": ("broken", "its probe lists the device 'reference:0'; an id is badid:0", "mlcore-test-badid"),
    "noobject": ("broken", "raised AttributeError: module 'mlcore_test_noobject' has no attribute", ""),
    "isclass": (
        "broken",
        "is a class Plugin, not a BackendPlugin object",
        "end the module with `plugin = MyPlugin()`",
    ),
    "slow": ("ready", "", ""),
    "wontopen": ("ready", "", ""),
    "twin-a": (
        "duplicate",
        "2 distributions provide 'twin': mlcore-test-twin-a 1.0, mlcore-test-twin-b 1.0",
        "ask for 'mlcore-test-twin-a/twin'",
    ),
    "twin-b": ("duplicate", "2 distributions provide 'twin'", "MLCORE_BACKENDS=!mlcore-test-twin-b/twin"),
    "toys": ("ready", "", ""),
    "brokendomain": ("ready", "", ""),
    "misspelt": ("broken", "mlcore_modles", "uninstall it"),
}


LIMIT = {"MLCORE_PROBE_TIMEOUT": "4"}  # one of them never ends


@pytest.fixture(scope="session")
def records(everything: Any) -> dict[str, Any]:
    """What the first look at all of them found, by ``distribution/name``."""
    return json.loads(everything.python(STATES, **LIMIT))


@pytest.mark.parametrize("name", EXPECTED)
def test_state_reason_and_fix(records: dict[str, Any], name: str) -> None:
    short = "twin" if name.startswith("twin") else name
    record = records[f"mlcore-test-{name}/{short}"]
    state, reason, fix = EXPECTED[name]
    assert (record["state"], record["distribution"]) == (state, f"mlcore-test-{name}"), record
    assert reason in record["reason"]
    assert fix in record["fix"]
    assert bool(record["reason"]) == (state != "ready")
    assert bool(record["devices"]) == (state == "ready" and record["group"] == "mlcore.backends")


def test_a_probe_that_never_ends_is_stopped(records: dict[str, Any]) -> None:
    record = records["mlcore-test-hangs/hangs"]
    assert record["state"] == "crashed"
    assert record["reason"] == "did not finish loading and probing within 4 s"
    assert "mlcore doctor hangs --retry" in record["fix"]


def test_every_distribution_has_its_expectation(installed: Path) -> None:
    known = {*EXPECTED, "hangs", "sitepolicy", "softsign"}
    folders = {path.parent.name for path in (Path(__file__).parent / "dists").glob("*/pyproject.toml")}
    assert folders == known


def test_a_traceback_is_kept(records: dict[str, Any]) -> None:
    assert 'raise OSError("libmychip.so.3' in records["mlcore-test-raises/raises"]["traceback"]


@pytest.mark.parametrize("variable", ["!healthy", "slow,nohardware"])
def test_disabled_by_the_environment(site: Callable[..., Any], variable: str) -> None:
    found = json.loads(site("healthy", "slow").python(STATES, MLCORE_BACKENDS=variable))
    healthy, slow = found["mlcore-test-healthy/healthy"], found["mlcore-test-slow/slow"]
    assert (healthy["state"], slow["state"]) == ("disabled", "ready")
    assert healthy["reason"] == (
        "MLCORE_BACKENDS excludes 'healthy'"
        if "!" in variable
        else "MLCORE_BACKENDS allows only nohardware, slow"
    )
    assert healthy["fix"] == "unset MLCORE_BACKENDS, or let it name 'healthy'"


def test_plugins_off_loads_nothing(site: Callable[..., Any]) -> None:
    some = site("healthy", "exits", "toys")
    found = json.loads(some.python(STATES, MLCORE_PLUGINS="off"))
    ours = [record for name, record in found.items() if name.startswith("mlcore-test-")]
    assert {record["state"] for record in ours} == {"disabled"}
    assert {record["reason"] for record in ours} == {"MLCORE_PLUGINS is off"}
    assert not list((some.home / "cache").glob("probes/*"))


def test_one_of_two_of_a_name_can_be_left_out(site: Callable[..., Any]) -> None:
    some = site("twin-a", "twin-b")
    found = json.loads(some.python(STATES, MLCORE_BACKENDS="!mlcore-test-twin-a/twin"))
    assert found["mlcore-test-twin-a/twin"]["state"] == "disabled"
    assert found["mlcore-test-twin-b/twin"]["state"] == "ready"


def test_records_print_as_a_table(site: Callable[..., Any]) -> None:
    code = (
        "from mlcore.plugin import discovery; print(discovery.backends());"
        "print(discovery.domains().named('toys'))"
    )
    lines = site("nohardware", "toys").python(code, MLCORE_BACKENDS="nohardware").splitlines()
    columns = ["nohardware", "no_hardware", "mlcore-test-nohardware 1.0", "no /dev/no-such-chip* device"]
    assert [re.split("  +", line) for line in lines if line.startswith("nohardware")] == [columns]
    (reference,) = [line for line in lines if line.startswith("reference")]
    assert reference.index("ready") == lines[0].index(re.split("  +", lines[0])[1])
    assert lines[-1] == "toys  ready  mlcore-test-toys 1.0"


def test_import_mlcore_imports_no_plugin(everything: Any) -> None:
    code = (
        "import sys, mlcore; print([m for m in sys.modules if m.startswith('mlcore_test') or m == 'pluggy'])"
    )
    assert everything.python(code) == "[]"


def test_a_child_process_is_needed_once(site: Callable[..., Any]) -> None:
    """The first look is in a child; later ones are direct, and show in which process they were made."""
    some = site("nohardware")
    code = (
        "import sys; from mlcore.plugin import discovery; r = discovery.backends().named('nohardware');"
        "print(r.state, 'mlcore_test_nohardware' in sys.modules)"
    )
    assert some.python(code) == "no_hardware False"
    assert some.python(code) == "no_hardware True"
    assert some.python(code, MLCORE_SAFE_PROBE="1") == "no_hardware False"


def test_a_slow_probe_is_remembered(site: Callable[..., Any]) -> None:
    some = site("slow")
    notes = some.home / "notes"
    notes.mkdir()
    for _ in range(3):
        found = json.loads(some.python(STATES, SLOW_NOTES=str(notes)))["mlcore-test-slow/slow"]
        assert found["state"] == "ready"
        assert found["probe_ms"] >= 150
    assert [note.name.partition("-")[2] for note in notes.iterdir()] == ["child"]


def test_a_crash_is_remembered_until_the_plugin_changes(site: Callable[..., Any]) -> None:
    some = site("segfault")
    assert json.loads(some.python(STATES))["mlcore-test-segfault/segfault"]["state"] == "crashed"
    before = {path.name: path.stat().st_mtime_ns for path in (some.home / "cache/probes").iterdir()}
    assert json.loads(some.python(STATES))["mlcore-test-segfault/segfault"]["state"] == "crashed"
    assert {path.name: path.stat().st_mtime_ns for path in (some.home / "cache/probes").iterdir()} == before
    module = some.folder / "mlcore_test_segfault.py"
    module.write_text(module.read_text().replace("ctypes.string_at(0)", "pass  # repaired"))
    assert json.loads(some.python(STATES))["mlcore-test-segfault/segfault"]["state"] == "ready"


def test_a_process_that_died_while_probing_sends_the_next_to_a_child(site: Callable[..., Any]) -> None:
    some = site("nohardware")
    some.python(STATES)
    probes = some.home / "cache/probes"
    (proof,) = probes.glob("*nohardware.json")
    # The first try at a plugin that passed before dies half-way, without a chance to clean up.
    dies = (
        "import os; from mlcore.plugin import discovery, examine\n"
        "discovery.examine = lambda record: os._exit(9)\n"
        "discovery.backends()"
    )
    assert some.run("-c", dies, MLCORE_BACKENDS="nohardware").status == 9
    assert len(list(probes.glob("*nohardware*.running"))) == 1
    code = (
        "import sys; from mlcore.plugin import discovery; r = discovery.backends().named('nohardware');"
        "print(r.state, 'mlcore_test_nohardware' in sys.modules)"
    )
    assert some.python(code) == "no_hardware False"
    assert not list(probes.glob("*.running"))
    assert proof.exists()
    assert some.python(code) == "no_hardware True"


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_an_interrupted_probe_is_no_crash(site: Callable[..., Any]) -> None:
    some = site("segfault")
    module = some.folder / "mlcore_test_segfault.py"
    module.write_text(module.read_text().replace("ctypes.string_at(0)", "import os; os.kill(os.getpid(), 2)"))
    result = some.run("-c", STATES)
    assert result.err.splitlines()[-1] == "KeyboardInterrupt"
    assert not list((some.home / "cache").glob("probes/*segfault*"))


def test_a_corrupt_cache_is_ignored(site: Callable[..., Any]) -> None:
    some = site("nohardware")
    some.python(STATES)
    (proof,) = (some.home / "cache/probes").glob("*nohardware.json")
    for damage in (
        b"",
        b"{",
        b"[]",
        b'{"key": 3}',
        b"\x00\xff",
        proof.read_bytes().replace(b'"record"', b'"rec"'),
    ):
        proof.write_bytes(damage)
        assert json.loads(some.python(STATES))["mlcore-test-nohardware/nohardware"]["state"] == "no_hardware"
        assert json.loads(proof.read_bytes())["record"]["state"] == "no_hardware"


def test_a_cache_that_cannot_be_written_fails_nothing(site: Callable[..., Any], tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("in the way")
    some = site("healthy", "segfault")
    found = json.loads(some.python(STATES, MLCORE_CACHE_DIR=str(file)))
    assert found["mlcore-test-healthy/healthy"]["state"] == "ready"
    assert found["mlcore-test-segfault/segfault"]["state"] == "crashed"


def test_the_visible_variables_are_honoured(site: Callable[..., Any]) -> None:
    some = site("healthy")
    for shown, state, count in [("1", "ready", 1), ("", "no_hardware", 0), ("0,1", "ready", 2)]:
        found = json.loads(some.python(STATES, HEALTHY_VISIBLE_DEVICES=shown))["mlcore-test-healthy/healthy"]
        assert (found["state"], len(found["devices"])) == (state, count)


def test_hooks_of_healthy_plugins_run_beside_broken_ones(everything: Any) -> None:
    code = (
        "from mlcore.plugin import discovery, hooks\n"
        "discovery.load_hooks(); print(hooks.call('mlcore_models'))"
    )
    result = everything.run("-c", code, **LIMIT)
    assert result.status == 0, result.err
    assert "{'toys/one': <class 'dict'>}" in result.out
    assert "mlcore_models of plugin mlcore.domains:mlcore-test-brokendomain/brokendomain failed" in result.err
    assert "RuntimeError: no models today" in result.err


def test_modules_of_operations_are_imported_on_request(site: Callable[..., Any]) -> None:
    code = (
        "import os; from mlcore.plugin import discovery; discovery.backends()\n"
        "before = 'SOFTSIGN_WAS_IMPORTED' in os.environ\n"
        "print(before, discovery.load_ops().named('softsign').state, os.environ['SOFTSIGN_WAS_IMPORTED'])"
    )
    assert site("softsign").python(code) == "False ready 1"


def test_a_broken_plugin_asked_for_gives_the_stored_reason(site: Callable[..., Any]) -> None:
    code = (
        "from mlcore.plugin import discovery\n"
        "from mlcore.errors import PluginError\n"
        "try: discovery.load(discovery.find_backend('raises'))\n"
        "except PluginError as error: print(error)"
    )
    lines = site("raises").python(code).splitlines()
    assert lines[0] == "backend 'raises' (mlcore-test-raises 1.0) is not usable, state broken"
    assert lines[1].startswith("  cause: raised OSError: libmychip.so.3")
    assert lines[-1] == "  more:  mlcore doctor raises"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_can_look(site: Callable[..., Any]) -> None:
    code = (
        "import os, threading, time\n"
        "from mlcore.plugin import discovery\n"
        "discovery._lock.acquire()\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    os._exit(0 if discovery.backends().named('nohardware').state == 'no_hardware' else 1)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))"
    )
    assert site("nohardware").python(code) == "0"
