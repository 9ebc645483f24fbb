"""Links between the pages lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*ROOT.glob("*.md"), ROOT / "mlcore" / "README.md", *(ROOT / "docs").glob("*.md")]
PAGES += [
    *(ROOT / "docs" / "examples").glob("*.md"),
    *ROOT.glob("backend-*/*.md"),
    *ROOT.glob("plugins/*/*.md"),
]


@pytest.mark.parametrize("page", sorted(PAGES), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    # Generated pages exist only while the site is built.
    missing = [
        one for one in targets if not one.startswith("_generated") and not (page.parent / one).exists()
    ]
    assert not missing, f"{page.name} links to {missing}"
