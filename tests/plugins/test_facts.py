"""What probes are made of: versions and requirements, PCI and device files, libraries; and the plugin classes."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlcore.errors import PluginError
from mlcore.plugin import BackendPlugin, DeviceInfo, DomainPlugin, Probe, ProbeContext, probes
from mlcore.plugin.api import PLUGIN_API, check_api
from mlcore.plugin.requirements import satisfies, split, unmet, version_key

IN_ORDER = [
    "0.9",
    "1.0.dev1",
    "1.0a1.dev2",
    "1.0a1",
    "1.0a2",
    "1.0b1",
    "1.0rc1",
    "1.0",
    "1.0.post1.dev1",
    "1.0.post1",
    "1.0.1",
    "1.2",
    "1.10",
    "2!0.1",
]


def test_versions_are_ordered() -> None:
    backwards = IN_ORDER[::-1]
    assert sorted(backwards, key=version_key) == IN_ORDER
    packaging = pytest.importorskip("packaging.version")
    assert sorted(backwards, key=packaging.Version) == IN_ORDER


def test_versions_that_are_equal() -> None:
    for text in ("1.0", "1", "1.0.0", "v1.0", "1.0+local.7"):
        assert version_key(text) == version_key("1.0")


CLAUSES = [
    "==1.2",
    "!=1.2",
    ">=1.2",
    ">1.2",
    "<=1.2",
    "<1.2",
    "~=1.2",
    "~=1.2.0",
    "==1.2.*",
    "!=1.2.*",
    ">=1,<2,!=1.2",
]
CANDIDATES = ["1", "1.1.9", "1.2", "1.2.0", "1.2.7", "1.3", "1.10", "2", "2.0.1", "10"]


@pytest.mark.parametrize("clause", CLAUSES)
def test_comparisons_agree_with_packaging(clause: str) -> None:
    specifiers = pytest.importorskip("packaging.specifiers").SpecifierSet(clause, prereleases=True)
    assert [satisfies(version, clause) for version in CANDIDATES] == [
        version in specifiers for version in CANDIDATES
    ]


def test_no_comparison_is_always_met() -> None:
    assert satisfies("0.0.1", "")
    assert satisfies("1.2", "===1.2")
    assert not satisfies("1.2.0", "===1.2")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("numpy", ("numpy", "")),
        ("toy-lib[fast, small] >= 2, <3", ("toy-lib", ">= 2, <3")),
        ("toy.lib(>=2)", ("toy.lib", ">=2")),
    ],
)
def test_requirements_are_split(text: str, parts: tuple[str, str]) -> None:
    assert split(text) == parts


@pytest.mark.parametrize("text", ["", ">=2", "toy; sys_platform == 'linux'", "toy @ file:///tmp"])
def test_what_is_no_requirement(text: str) -> None:
    with pytest.raises(PluginError, match="is not a requirement"):
        split(text)


def test_what_is_no_comparison_or_version() -> None:
    with pytest.raises(PluginError, match="'2' is not a version comparison"):
        unmet("numpy 2")
    with pytest.raises(PluginError, match="'two' is not a version"):
        version_key("two")


@pytest.mark.parametrize("api", [PLUGIN_API, "1.0"])
def test_an_api_that_fits(api: str) -> None:
    assert check_api(api) == ""


@pytest.mark.parametrize(
    ("api", "text"),
    [
        ("0.9", "speaks plugin API 0.9, this mlcore speaks"),
        ("1.99", "speaks plugin API 1.99, this mlcore speaks"),
        ("2.0", "speaks plugin API 2.0, this mlcore speaks"),
        ("1", "declares its plugin API as '1'"),
        ("one.two", "declares its plugin API as 'one.two'"),
        (1.0, "declares its plugin API as 1.0"),
        (None, "declares its plugin API as None"),
    ],
)
def test_an_api_that_does_not_fit(api: object, text: str) -> None:
    assert check_api(api).startswith(text)


def test_probes_travel_between_processes() -> None:
    info = DeviceInfo("toy:3", "Toy", "accelerator", "t9", 2**30, "u-1", "7.1", {"cores": "8"})
    probe = Probe.ready([info], evidence=["/dev/toy3"])
    assert Probe.from_json(probe.to_json()) == probe
    assert (info.type, info.index) == ("toy", 3)
    for make in (Probe.no_hardware, Probe.missing_dependency, Probe.driver_too_old):
        found = make("why", fix="how", evidence=["x"])
        assert (found.state, found.reason, found.fix) == (make.__name__, "why", "how")
        assert Probe.from_json(found.to_json()) == found


def test_a_plugin_that_forgot_its_methods_says_so() -> None:
    class Toy(BackendPlugin):
        name = "toy"

    with pytest.raises(PluginError, match="backend plugin 'toy' has no probe"):
        Toy().probe(ProbeContext())
    assert repr(Toy()) == f"<BackendPlugin toy, api {PLUGIN_API}>"
    assert repr(DomainPlugin()).startswith("<DomainPlugin ")


def test_pci_devices_of_a_made_up_machine(tmp_path: Path) -> None:
    for address, kind, vendor, device in [
        ("0000:01:00.0", "0x030200", "0x10de", "0x2330"),
        ("0000:02:00.0", "0x120000", "0x1002", "0x74a1"),
        ("0000:03:00.0", "0x020000", "0x8086", "0x1533"),  # a network card
        ("0000:04:00.0", "nonsense", "0x8086", "0x1533"),
    ]:
        folder = tmp_path / address
        folder.mkdir()
        for name, text in (("class", kind), ("vendor", vendor), ("device", device)):
            (folder / name).write_text(text + "\n")
    (tmp_path / "0000:05:00.0").mkdir()
    root = str(tmp_path)
    assert probes.pci_devices(root=root) == [
        ("0000:01:00.0", 0x10DE, 0x2330),
        ("0000:02:00.0", 0x1002, 0x74A1),
    ]
    assert probes.pci_vendors(root=root) == {0x10DE, 0x1002}
    assert probes.pci_vendors(root=root, classes=(0x02,)) == {0x8086}


def test_driver_files(tmp_path: Path) -> None:
    file = tmp_path / "version"
    file.write_text("NVRM version: UNIX x86_64 Kernel Module  525.60.13  Wed Nov 30\n")
    assert probes.driver_version(str(file)) == "525.60.13"
    assert probes.driver_version(str(file), r"\d{4}") is None
    assert probes.driver_version(str(tmp_path)) is None


def test_device_files(tmp_path: Path) -> None:
    for name in ("toy1", "toy0", "other"):
        (tmp_path / name).touch()
    assert probes.device_node(f"{tmp_path}/toy*") == [f"{tmp_path}/toy0", f"{tmp_path}/toy1"]


def test_libraries_are_tried_in_a_child(tmp_path: Path) -> None:
    broken = tmp_path / "libbroken.so"
    broken.write_bytes(b"not a library")
    assert "libbroken.so" in probes.loads(str(broken))
    assert not probes.find_spec("no_such_module.at_all")
