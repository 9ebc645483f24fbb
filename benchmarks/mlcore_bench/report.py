"""The table, as Markdown and as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlcore_bench.fresh import shown
from mlcore_bench.timing import ALONE, FAILED, INVALID, OK, Result

TITLES = {"torch": "PyTorch"}


def title(rival: str | None) -> str:
    """A rival as a reader calls it.

    >>> title("torch (fused AdamW)")
    'PyTorch (fused AdamW)'
    """
    module, blank, variant = (rival or "").partition(" ")
    return TITLES.get(module, module) + blank + variant


def line(result: Result) -> str:
    """One row, for the terminal."""
    name = f"{result.group}: {result.name}"
    if result.state in (INVALID, FAILED):
        return f"{name:<72} {result.state}: {result.note}"
    assert result.mine is not None
    mine = shown(result.unit, result.mine.median)
    if result.ratio is None or result.best is None:
        return f"{name:<72} {mine:>10}"
    rival = shown(result.unit, result.rivals[result.best].median)
    return f"{name:<72} {mine:>10} {rival:>10}   {result.ratio:.2f}"


def mean_ratio(results: Sequence[Result]) -> float | None:
    """The geometric mean of the ratios there are."""
    ratios = [one.ratio for one in results if one.ratio is not None]
    return math.exp(sum(map(math.log, ratios)) / len(ratios)) if ratios else None


def groups(results: Sequence[Result]) -> dict[str, list[Result]]:
    """The results by group, in order."""
    found: dict[str, list[Result]] = {}
    for one in results:
        found.setdefault(one.group, []).append(one)
    return found


def head(facts: dict[str, Any]) -> list[str]:
    """What the reader must know before the first figure."""
    rival = f"PyTorch {facts['torch']}" if facts["torch"] else "no PyTorch"
    lines = [
        f"- {facts['processor']}, {facts['threads']} of {facts['cores']} cores used, {facts['system']}, "
        f"load before the run {facts['load_before']}",
        f"- mlcore {facts['mlcore']} on {facts['device']}"
        + (f" ({facts['backend']})" if "backend" in facts else "")
        + f", core {'compiled' if facts['core_compiled'] else 'NOT compiled'}; {rival}; NumPy {facts['numpy']}; "
        f"Python {facts['python']}",
        f"- command: `{facts['command']}`",
    ]
    if (facts["load_before"] or 0) > 1:
        lines.append(
            "- **Other programs run on this machine: figures are noisy, and PyTorch's threads, which wait for each "
            "other by spinning, lose most. Repeat it on an idle machine.**"
        )
    if not facts["core_compiled"]:
        lines.append(
            "- **The core runs uncompiled here: what a call costs is a multiple of what it is installed.**"
        )
    if not facts["torch"]:
        lines.append(
            "- **PyTorch is not installed: these are mlcore's own figures, with nothing to compare them to.**"
        )
    return lines


def markdown(facts: dict[str, Any], results: Sequence[Result]) -> str:
    """The whole report."""
    parts = ["# mlcore side by side", "", *head(facts), ""]
    broken = [one for one in results if one.state in (INVALID, FAILED)]
    if broken:
        parts += [
            f"**{len(broken)} of {len(results)} rows have no figure: numbers disagree, or they did not run.**",
            "",
        ]
    parts += [
        "Median, and in brackets the quartiles. The ratio is mlcore's median over the rival's: below 1 mlcore is "
        "faster, or smaller.",
        "",
    ]
    for group, rows in groups(results).items():
        mean = mean_ratio(rows)
        parts += [
            f"## {group}" + (f": geometric mean {mean:.2f}" if mean is not None else ""),
            "",
            "| | mlcore | rival | ratio | ratio of minima | |",
            "|---|---:|---:|---:|---:|---|",
            *map(_row, rows),
            "",
        ]
    return "\n".join(parts)


def _row(one: Result) -> str:
    if one.state in (INVALID, FAILED):
        return f"| {one.name} | | | **{one.state}** | | {_escaped(one.note)} |"
    assert one.mine is not None
    cells = [one.name, _figure(one, one.mine)]
    if one.state == ALONE or one.best is None:
        return "| " + " | ".join([*cells, "", "", "", _escaped(one.note)]) + " |"
    note = "; ".join(filter(None, (title(one.best) if " " in one.best else "", one.note)))
    cells += [
        _figure(one, one.rivals[one.best]),
        f"**{one.ratio:.2f}**",
        f"{one.least_ratio:.2f}",
        _escaped(note),
    ]
    return "| " + " | ".join(cells) + " |"


def _figure(result: Result, spread: Any) -> str:
    low, high = shown(result.unit, spread.p25), shown(result.unit, spread.p75)
    if low.rpartition(" ")[2] == high.rpartition(" ")[2]:  # the unit once
        low = low.rpartition(" ")[0]
    return f"{shown(result.unit, spread.median)} ({low} – {high})"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def as_json(facts: dict[str, Any], results: Sequence[Result]) -> dict[str, Any]:
    """The whole report, for programs. Times in seconds, memory in bytes."""
    return {
        "header": facts,
        "geometric_means": {group: mean_ratio(rows) for group, rows in groups(results).items()},
        "rows": [one.to_json() for one in results],
    }


def write(folder: Path, facts: dict[str, Any], results: Sequence[Result]) -> tuple[Path, Path]:
    """Write side_by_side.md and side_by_side.json into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    text, data = folder / "side_by_side.md", folder / "side_by_side.json"
    text.write_text(markdown(facts, results), encoding="utf-8")
    # JSON has no infinity: a difference of other shapes is null, and the note says what it was.
    plain = json.loads(json.dumps(as_json(facts, results)), parse_constant=lambda _: None)
    data.write_text(json.dumps(plain, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return text, data


__all__ = ["ALONE", "OK", "as_json", "head", "line", "markdown", "title", "write"]
