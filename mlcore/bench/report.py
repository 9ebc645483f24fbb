"""The table, as Markdown and as JSON, and its place in a page of documentation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from mlcore.bench import goals
from mlcore.bench.timing import ALONE, FAILED, INVALID, Result, Spread
from mlcore.errors import MlcoreError

TITLES: Final = {
    "torch": "PyTorch",
    "numpy": "NumPy",
    "jax": "JAX",
    "onnxruntime": "ONNX Runtime",
    "onednn": "oneDNN",
}
BEGIN: Final = "<!-- the bench's table begins: mlcore bench --page writes it -->"
END: Final = "<!-- the bench's table ends -->"


def title(rival: str | None) -> str:
    """A rival as a reader calls it.

    >>> title("torch (fused AdamW)")
    'PyTorch (fused AdamW)'
    """
    module, blank, variant = (rival or "").partition(" ")
    return TITLES.get(module, module) + blank + variant


def shown(unit: str, value: float) -> str:
    """A figure with the prefix that suits it.

    >>> shown("s", 0.0000123), shown("s", 1.5), shown("B", 54_300_000)
    ('12.3 µs', '1.50 s', '54.3 MB')
    """
    if unit == "B":
        return f"{value / 1e6:.1f} MB"
    for scale, name in ((1, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if value >= scale:
            digits = max(0, 2 - (value >= 10 * scale) - (value >= 100 * scale))
            return f"{value / scale:.{digits}f} {name}"
    return f"{value / 1e-9:.0f} ns"


def line(result: Result) -> str:
    """One row, for the terminal: mlcore, PyTorch, ratio, share of the floor."""
    name = f"{result.group}: {result.name}"
    if result.state in (INVALID, FAILED):
        return f"{name:<78} {result.state}: {result.note}"
    assert result.mine is not None
    text = f"{name:<78} {shown(result.unit, result.mine.median):>9}"
    if result.ratio is not None and result.best is not None:
        text += f" {shown(result.unit, result.rivals[result.best].median):>9} {result.ratio:>6.2f}"
    return text + (f" {result.share:>5.0%}" if result.share else "")


def mean_ratio(results: Sequence[Result]) -> float | None:
    """The geometric mean of the ratios there are."""
    return goals.geometric_mean([one.ratio for one in results if one.ratio is not None])


def groups(results: Sequence[Result]) -> dict[tuple[int | None, str], list[Result]]:
    """The results by number of threads and group, in order."""
    found: dict[tuple[int | None, str], list[Result]] = {}
    for one in results:
        found.setdefault((one.threads, one.group), []).append(one)
    return found


def head(facts: dict[str, Any]) -> list[str]:
    """What the reader must know before the first figure."""
    rival = f"PyTorch {facts['torch']}" if facts["torch"] else "no PyTorch"
    others = "".join(f", {name} {version}" for name, version in facts["others"].items())
    lines = [
        f"- {facts['processor']}, {facts['cores']} cores, {facts['system']}, "
        f"load before the run {facts['load_before']}",
        f"- mlcore {facts['mlcore']} on {facts['device']}"
        + (f" ({facts['backend']})" if "backend" in facts else "")
        + f", core {'compiled' if facts['core_compiled'] else 'NOT compiled'}; {rival}; NumPy {facts['numpy']}"
        + f"{others}; Python {facts['python']}",
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


def _peaks(facts: dict[str, Any]) -> list[str]:
    found = []
    for threads, peaks in facts.get("peaks", {}).items():
        rates = ", ".join(f"{name} {rate:.0f}" for name, rate in peaks["GFLOP/s"].items())
        bands = ", ".join(f"{rate:.0f} ({int(size) / 2**20:.3g} MiB)" for size, rate in peaks["GB/s"].items())
        found.append(f"- peak with {threads} threads: GFLOP/s {rates}; GB/s {bands}")
    return found


def markdown(facts: dict[str, Any], results: Sequence[Result], level: int = 1) -> str:
    """The whole report, its title at that level of heading."""
    deep = "#" * level
    parts = [f"{deep} mlcore side by side", "", *head(facts), *_peaks(facts), ""]
    broken = [one for one in results if one.state in (INVALID, FAILED)]
    if broken:
        parts += [
            f"**{len(broken)} of {len(results)} rows have no figure: numbers disagree, or they did not run.**",
            "",
        ]
    verdicts = goals.judge(results)
    if verdicts:
        parts += [f"{deep}# What is to hold", "", *goals.lines(verdicts), ""]
    parts += [
        "Median, and in brackets the quartiles. The ratio is mlcore's median over the rival's: below 1 mlcore is "
        "faster, or smaller. The floor is what the row's operations and bytes need at the machine's peak; its share is "
        "how much of that was reached. Under *others*, mlcore's time over theirs.",
        "",
    ]
    for (threads, group), rows in groups(results).items():
        mean = mean_ratio(rows)
        where = "" if threads is None else f", {threads} thread{'s' if threads != 1 else ''}"
        parts += [
            f"{deep}# {group}{where}" + (f": geometric mean {mean:.2f}" if mean is not None else ""),
            "",
            "| | mlcore | rival | ratio | ratio of minima | floor | others |",
            "|---|---:|---:|---:|---:|---:|---|",
            *map(_row, rows),
            "",
        ]
    return "\n".join(parts)


def _row(one: Result) -> str:
    if one.state in (INVALID, FAILED):
        return f"| {one.name} | | | **{one.state}** | | | {_escaped(one.note)} |"
    assert one.mine is not None
    others = [f"{title(name)} {one.mine.median / found.median:.2f}" for name, found in one.others.items()]
    variant = title(one.best) if one.best and " " in one.best else ""
    share = f"{one.share:.0%}" if one.share else ""
    notes = _escaped("; ".join(filter(None, (variant, *others, one.note))))
    cells = [one.name, _figure(one.unit, one.mine)]
    if one.state == ALONE or one.best is None:
        return "| " + " | ".join([*cells, "", "", "", share, notes]) + " |"
    least = f"{one.least_ratio:.2f}" if one.unit == "s" and one.least_ratio is not None else ""
    cells += [_figure(one.unit, one.rivals[one.best]), f"**{one.ratio:.2f}**", least, share, notes]
    return "| " + " | ".join(cells) + " |"


def _figure(unit: str, spread: Spread) -> str:
    if spread.samples == 1:
        return shown(unit, spread.median)
    low, high = shown(unit, spread.p25), shown(unit, spread.p75)
    if low.rpartition(" ")[2] == high.rpartition(" ")[2]:  # the unit once
        low = low.rpartition(" ")[0]
    return f"{shown(unit, spread.median)} ({low} – {high})"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def as_json(facts: dict[str, Any], results: Sequence[Result]) -> dict[str, Any]:
    """The whole report, for programs. Times in seconds, memory in bytes."""
    means = [
        {"threads": threads, "group": group, "mean": mean_ratio(rows)}
        for (threads, group), rows in groups(results).items()
    ]
    content = {
        "header": facts,
        "goals": [one.to_json() for one in goals.judge(results)],
        "geometric_means": means,
        "rows": [one.to_json() for one in results],
    }
    # JSON has no infinity: a difference of other shapes is null, and the note says what it was.
    plain: dict[str, Any] = json.loads(json.dumps(content), parse_constant=lambda _: None)
    return plain


def write(folder: Path, facts: dict[str, Any], results: Sequence[Result]) -> tuple[Path, Path]:
    """Write side_by_side.md and side_by_side.json into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    text, data = folder / "side_by_side.md", folder / "side_by_side.json"
    text.write_text(markdown(facts, results), encoding="utf-8")
    data.write_text(
        json.dumps(as_json(facts, results), indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    return text, data


def check_page(page: Path) -> None:
    """Raises MlcoreError when a page cannot be read, or has not each mark once, in order."""
    try:
        text = page.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise MlcoreError(f"{page} cannot be read", cause=error, fix="name a page of text") from None
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise MlcoreError(
            f"{page} has no place for the table", cause="each mark must be there once, in order",
            fix=f"put two lines where the table shall stand: {BEGIN} and {END}",
        )  # fmt: skip


def write_page(page: Path, facts: dict[str, Any], results: Sequence[Result]) -> None:
    """Put the report between the two marks of a page, in place of what stands there."""
    check_page(page)
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    page.write_text(f"{before}{BEGIN}\n\n{markdown(facts, results, 2)}\n{END}{after}", encoding="utf-8")


def summary(results: Sequence[Result]) -> list[str]:
    """What is to hold, for the terminal."""
    return [line.strip("| ").replace(" | ", "  ").replace("**", "") for line in goals.lines(goals.judge(results))
            if not line.startswith("|---")]  # fmt: skip
