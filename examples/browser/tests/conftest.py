"""The page of a network trained here, served, and a browser: what the README says to type, and what is drawn."""

from __future__ import annotations

import functools
import http.server
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

README = Path(__file__).resolve().parents[1] / "README.md"


def needs(there: object, what: str) -> None:
    """Skip a test, or fail it in the leg that has everything, where something is not installed."""
    if there:
        return
    if os.environ.get("MLCORE_LEG"):
        pytest.fail(f"{what} is not installed", pytrace=False)
    pytest.skip(f"{what} is not installed")


def commands() -> list[str]:
    """What the README tells to type."""
    return re.findall(r"^\$ (.*?)(?:\s+#.*)?$", README.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory, mlcore_asset: Callable[[str], Path]) -> Path:
    """A folder in which the README's commands have trained a network, for a shorter time, and made the page."""
    for module in ("mlcore_vision", "mlcore_onnx", "mlcore_browser"):
        needs(importlib.util.find_spec(module), module)
    for name in ("mnist", "onnxruntime_web"):
        mlcore_asset(name)
    folder = tmp_path_factory.mktemp("browser")
    train, build = (
        next(one for one in commands() if text in one) for text in ("mlcore train", "mlcore_browser")
    )
    for command in (f"{train} --quick --epochs 3", build.replace("--serve", "").strip()):
        words = (
            command.replace("mlcore train", "python -m mlcore train")
            .replace("python", sys.executable, 1)
            .split()
        )
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False, timeout=170)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return folder


@pytest.fixture(scope="session")
def site(work: Path) -> Path:
    return work / "site"


@pytest.fixture(scope="session")
def node(site: Path) -> Callable[[Path], str]:
    """Runs the page's program for Node on a file."""
    program = shutil.which("node")
    needs(program, "node")

    def run(file: Path) -> str:
        command = [str(program), str(site / "read.mjs"), str(file)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@dataclass
class Visit:
    """A page that was opened: everything it asked for, and everything it complained about."""

    page: Any
    address: str
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def readings(self) -> int:
        """How often the network has been asked."""
        return int(self.page.get_attribute("body", "data-readings"))

    def wait_for_reading(self, number: int) -> None:
        """Until the network has answered that often; the page forbids code made of text, so by its attribute."""
        self.page.locator(f'body[data-readings="{number}"]').wait_for(timeout=30_000)

    def clear(self) -> None:
        """A new sheet of paper."""
        before = self.readings()
        self.page.click("#clear")
        self.wait_for_reading(before + 1)

    def draw(self, strokes: list[list[tuple[float, float]]]) -> dict[str, Any]:
        """Draw lines through points of a 280x280 paper, with the mouse; returns what was read."""
        box = self.page.locator("#paper").bounding_box()
        mouse = self.page.mouse
        for points in strokes:
            before = self.readings()
            for number, (x, y) in enumerate(points):
                mouse.move(box["x"] + x, box["y"] + y, steps=4 if number else 1)
                if not number:
                    mouse.down()
            mouse.up()
            self.wait_for_reading(before + 1)
        reading: dict[str, Any] = self.page.evaluate("window.lastReading")
        return reading


@pytest.fixture(scope="session")
def address(site: Path) -> Iterator[str]:
    """Where the page is served: by the server that any Python has."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            """The test says what was asked for."""

    handler = functools.partial(Quiet, directory=site)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Debian's Chromium without a window."""
    needs(importlib.util.find_spec("playwright"), "playwright")
    program = shutil.which("chromium") or shutil.which("google-chrome")
    needs(program, "chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # No sandbox inside a container's own; the page is ours.
        found = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        yield found
        found.close()


@pytest.fixture
def visit(browser: Any, address: str) -> Iterator[Visit]:
    page = browser.new_page(viewport={"width": 700, "height": 560})
    made = Visit(page, address)
    page.on("request", lambda request: made.requests.append(request.url))
    page.on("pageerror", lambda error: made.complaints.append(str(error)))
    page.on(
        "console",
        lambda said: made.complaints.append(said.text) if said.type in ("error", "warning") else None,
    )
    page.goto(address)
    page.locator("body[data-state]").wait_for(timeout=60_000)
    assert page.get_attribute("body", "data-state") == "ready", page.inner_text("#status")
    made.wait_for_reading(1)
    yield made
    page.close()
