"""mlcore view: a model's graph as text and as a page that needs nothing else."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from mlcore import nn
from mlcore.cli import main
from mlcore.cli.page import page
from mlcore.compile.capture import capture
from mlcore.compile.outline import outline

MODELS = """
from mlcore import nn

class Block(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x):
        return self.norm(self.conv(x)).relu() + 1

class Outer(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(Block(3), Block())

    def forward(self, x):
        return self.body(x)

class Odd(nn.Module):
    def forward(self, x):
        return x.relu() if x.shape[0] % 2 else x.tanh()
"""


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "viewed.py").write_text(MODELS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "viewed", raising=False)
    return "viewed"


def test_text_has_modules_operations_shapes_parameters_and_flops(
    models: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["view", f"{models}:Block", "--in", "B 3 8 8"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["takes", "x:", "float32[B,", "3,", "8,", "8]"]
    assert ["conv", "Conv2d", "float32[B,", "4,", "8,", "8]", "112", "28.2k"] in lines
    assert ["norm", "BatchNorm2d", "float32[B,", "4,", "8,", "8]", "8", "1048"] in lines
    assert ["·", "relu", "float32[B,", "4,", "8,", "8]", "-", "512"] in lines


def test_depth_shows_modules_as_a_whole(models: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["view", f"{models}:Block", "width=2", "--in", "B 3 8 8", "--size", "B=1", "--depth", "0"]) == 0
    )
    out = capsys.readouterr().out
    assert "float32[1, 2, 8, 8]" in out
    assert "conv" not in out.split("FLOPs", 1)[1]


def test_a_graph_that_follows_the_size_is_shown_at_one(
    models: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["view", f"{models}:Odd", "--in", "B 3"]) == 0
    out = capsys.readouterr().out
    assert "the graph is another one at other sizes; this is it at B = 2" in out
    assert "tanh" in out


class Reader(HTMLParser):
    """Every element with its attributes, and the text; elements must be closed in order."""

    VOID = ("meta", "link", "input")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.opened: list[str] = []
        self.elements: list[tuple[str, dict[str, Any]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.opened == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.opened.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.opened.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_the_page_loads_nothing_and_its_links_lead_somewhere(
    models: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["view", f"{models}:Block", "--in", "B 3 8 8", "--html", "net.html"]) == 0
    assert "4 operations" in capsys.readouterr().out
    text = (tmp_path / "net.html").read_text(encoding="utf-8")
    found = Reader(text)
    anchors = {attributes["id"] for tag, attributes in found.elements if attributes.get("class") == "op"}
    assert len(anchors) == 4
    targets = [attributes["href"] for tag, attributes in found.elements if tag == "a"]
    assert targets
    assert {one.removeprefix("#") for one in targets} <= anchors
    assert not re.search(r"https?:|//[a-z]|src=|@import|url\(", text)
    assert sum(tag == "details" for tag, _ in found.elements) == 3
    assert "float32[B, 4, 8, 8]" in found.words
    assert "default-src 'none'" in text
    assert str(tmp_path) not in text


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_the_page_opens_what_a_link_leads_to(models: str, tmp_path: Path) -> None:
    """Its own script runs in a browser, under its own policy: the modules around the target are open."""
    assert main(["view", f"{models}:Outer", "--in", "B 3 8 8", "--html", "net.html"]) == 0
    words = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--dump-dom",
        f"--user-data-dir={tmp_path / 'profile'}",
    ]
    done = subprocess.run(
        ["chromium", *words, f"file://{tmp_path}/net.html#op1"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    opened = [attributes for tag, attributes in Reader(done.stdout).elements if tag == "details"]
    assert ["open" in one for one in opened] == [True, True, True, False, True, False, False, False]


def test_names_of_a_model_are_text_on_the_page() -> None:
    evil = "<script>alert(1)</script>\"'&"
    net = nn.Sequential()
    net.add_module(evil, nn.Linear(3, 2))
    net.__class__ = type("<img src=x onerror=alert(2)>", (nn.Sequential,), {})
    graph = capture(net, (4, 3))
    found = Reader(page(graph, outline(graph)))
    assert sum(tag == "script" for tag, _ in found.elements) == 1
    assert not [tag for tag, _ in found.elements if tag == "img"]
    assert evil in "".join(found.words)
