"""Makes built wheels fit to be given away: ``repair_wheels.py FROM TO``.

On Linux, auditwheel copies the shared libraries that a compiled wheel needs into it and writes the oldest
manylinux tag that its symbols allow; a requirement that only brought such a library is dropped. A pure wheel, and
every wheel elsewhere, is copied as it is.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path


def required_libraries(wheel: Path) -> dict[str, list[Path]]:
    """The shared libraries of the wheel's installed requirements, by requirement."""
    with zipfile.ZipFile(wheel) as archive:
        [metadata] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        lines = archive.read(metadata).decode().splitlines()
    found = {}
    for name in re.findall(r"^Requires-Dist: ([\w.-]+)", "\n".join(lines), flags=re.MULTILINE):
        try:
            files = distribution(name).files or []
        except PackageNotFoundError:
            continue
        found[name] = [Path(str(file.locate())).resolve() for file in files if ".so" in file.name]
    return found


def repair(wheel: Path, target: Path) -> None:
    """Copy a wheel to the target folder, self-contained where the platform has a tool for it."""
    if sys.platform != "linux" or wheel.name.endswith("-any.whl"):
        shutil.copy2(wheel, target)
        return
    libraries = required_libraries(wheel)
    folders = {
        str(path.parent) for paths in libraries.values() for path in paths if path.name.startswith("lib")
    }
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "auditwheel", "repair", "--wheel-dir", folder, str(wheel)]
        subprocess.run(command, check=True, env={**os.environ, "LD_LIBRARY_PATH": ":".join(sorted(folders))})
        [repaired] = Path(folder).glob("*.whl")
        with zipfile.ZipFile(repaired) as archive:
            carried = {Path(name).name.split("-")[0] for name in archive.namelist() if ".libs/" in name}
        dropped = [
            name
            for name, paths in libraries.items()
            if any(path.name.split(".so")[0] in carried for path in paths)
        ]
        if dropped:
            drop_requirements(repaired, dropped, target)
        else:
            shutil.copy2(repaired, target)


def drop_requirements(wheel: Path, names: list[str], target: Path) -> None:
    """Write the wheel to the target folder without some of its requirements."""
    with tempfile.TemporaryDirectory() as folder:
        tool = [sys.executable, "-m", "wheel"]
        subprocess.run([*tool, "unpack", "--dest", folder, str(wheel)], check=True, stdout=subprocess.DEVNULL)
        [root] = Path(folder).iterdir()
        [metadata] = root.glob("*.dist-info/METADATA")
        start = tuple(f"Requires-Dist: {name}" for name in names)
        lines = metadata.read_text(encoding="utf-8").splitlines(keepends=True)
        metadata.write_text("".join(line for line in lines if not line.startswith(start)), encoding="utf-8")
        subprocess.run(
            [*tool, "pack", "--dest-dir", str(target), str(root)], check=True, stdout=subprocess.DEVNULL
        )


def main() -> None:
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    target.mkdir(parents=True, exist_ok=True)
    for wheel in sorted(source.glob("*.whl")):
        repair(wheel, target)
    for wheel in sorted(target.glob("*.whl")):
        print(f"{wheel}  {wheel.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
