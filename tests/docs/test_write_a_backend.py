"""The page "Write a backend", followed literally from an empty folder: its commands, its edits and its files."""

from __future__ import annotations

import importlib.util
import re
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "packaging"))
from workshop import Workshop  # noqa: E402

PAGE = ROOT / "docs" / "write-a-backend.md"
FENCE = re.compile(r"^```(\S+)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass
class Step:
    """One block of the page: commands with what they print, an edit of a file, or a whole file."""

    kind: str
    text: str

    @property
    def path(self) -> str:
        """The file that an edit or a whole file is of."""
        first = self.text.splitlines()[0]
        return first.removeprefix(":caption:").removeprefix("---").strip()

    @property
    def typed(self) -> list[str]:
        """The lines that somebody types."""
        lines = self.text.splitlines()
        if self.kind == "console":
            return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        if self.kind == "diff":
            return [line[1:] for line in lines[1:] if line.startswith("+")]
        return [line for line in lines[1:] if line.strip()]

    def commands(self) -> Iterator[tuple[str, list[str]]]:
        """Each command with the lines that it is said to print."""
        for part in re.split(r"^\$ ", self.text, flags=re.MULTILINE)[1:]:
            command, *shown = part.splitlines()
            yield command, [line for line in shown if line.strip()]


OTHER_KIND = "## 6. Or"  # where the page turns to the other kind of backend


def steps(part: str = "whole") -> list[Step]:
    """The blocks of the page, or of what leads to level 1 ("first"), or of the other kind ("second")."""
    first, _, second = PAGE.read_text(encoding="utf-8").partition(OTHER_KIND)
    text = {"whole": first + second, "first": first, "second": second}[part]
    found = [Step(kind, body) for kind, body in FENCE.findall(text)]
    return [step for step in found if step.kind in ("console", "diff", "{code-block}")]


def plain(text: str) -> str:
    return " ".join(text.split())


def follow(shop: Workshop, step: Step) -> None:
    if step.kind == "console":
        for command, shown in step.commands():
            said = plain(shop.check(command))
            missing = [line for line in shown if plain(line) not in said]
            assert not missing, f"{command}\nprinted no {missing}, but\n{said[-2000:]}"
        return
    file = shop.home / step.path
    lines = step.text.splitlines(keepends=True)[1:]
    if step.kind == "{code-block}":
        file.write_text("".join(lines), encoding="utf-8")
        return
    old = "".join(line[1:] for line in lines if line[0] in "- ")
    new = "".join(line[1:] for line in lines if line[0] in "+ ")
    text = file.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{step.path} does not say\n{old}"
    file.write_text(text.replace(old, new), encoding="utf-8")


def figures() -> dict[str, str]:
    return dict(re.findall(r"^\| ([^|]+?) \| ([^|]+?) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE))


@pytest.mark.slow
@pytest.mark.timeout(280)
def test_the_page_is_true_from_zero_to_level_1(tmp_path: Path) -> None:
    pytest.importorskip("array_api_strict")
    shop = Workshop(tmp_path).prepare()
    spent = 0.0
    for step in steps("first"):
        started = time.monotonic()
        follow(shop, step)
        spent += time.monotonic() - started
    print(f"{spent:.0f} s of machine time, {sum(len(step.typed) for step in steps('first'))} lines typed")
    written = [path for path in (tmp_path / "mlcore-mychip").rglob("*") if path.is_file()]
    assert (tmp_path / "mlcore-mychip/src/mlcore_mychip/conformance.json") in written
    for tool in ("ruff check .", "ruff format --check .", "mypy"):
        if importlib.util.find_spec(tool.split()[0]):
            shop.check(tool, "mlcore-mychip")


@pytest.mark.slow
def test_the_page_is_true_of_own_kernels(tmp_path: Path) -> None:
    if shutil.which("g++") is None:
        pytest.skip("g++ is not installed, which the example compiles with")
    shop = Workshop(tmp_path).prepare()
    for step in steps("second"):
        follow(shop, step)


def test_the_page_counts_right() -> None:
    stated = figures()
    assert int(stated["Lines typed: commands, and lines of code"]) == sum(
        len(s.typed) for s in steps("first")
    )
    shown = [
        lines
        for s in steps()
        if s.kind == "console"
        for command, lines in s.commands()
        if "mlcore new" in command
    ]
    assert shown[0] == [f"wrote {stated['Files written by `mlcore new`']} files"]
