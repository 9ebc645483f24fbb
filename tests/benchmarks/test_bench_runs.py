"""The side-by-side run works from end to end, and shows no figure where the numbers disagree. No time is asserted."""

from __future__ import annotations

import importlib
import json
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """benchmarks/side_by_side.py as a module; the environment that it sets is put back."""
    before = dict(os.environ)
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    yield importlib.import_module("side_by_side")
    os.environ.clear()
    os.environ.update(before)
    for name in [one for one in sys.modules if one.split(".")[0] in ("mlcore_bench", "side_by_side")]:
        del sys.modules[name]


def test_two_rows_from_end_to_end(bench: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = bench.main(["--quick", "--threads", "1", "--rows", r"x \+ y$|tiny MLP", "--out", str(tmp_path)])
    printed = capsys.readouterr().out
    assert code == 0, printed
    report = json.loads((tmp_path / "side_by_side.json").read_text(encoding="utf-8"))
    rows = {row["name"]: row for row in report["rows"]}
    assert list(rows) == ["x + y", "tiny MLP 4-64-64-2, batch 1"]
    for row in rows.values():
        assert row["state"] in ("ok", "alone")
        assert 0 < row["mlcore"]["min"] <= row["mlcore"]["median"]
        assert (row["ratio"] is None) == (row["state"] == "alone")
    assert report["header"]["threads"] == 1
    assert isinstance(report["header"]["core_compiled"], bool)
    text = (tmp_path / "side_by_side.md").read_text(encoding="utf-8")
    assert "| x + y |" in text
    assert "## training steps" in text
    if report["header"]["torch"] is None:
        assert "PyTorch is not installed" in text


def _row(bench: Any, rival: Any, **facts: Any) -> Any:
    from mlcore_bench import rows

    def task(factor: float) -> Any:
        return lambda data: rows.Task(lambda: data["x"] * factor, np.asarray)

    return rows.Row("made up", "times two", rows.normal(x=(4,)), task(2.0), {"numpy": task(rival)}, **facts)


@pytest.mark.parametrize(("factor", "state"), [(2.0, "ok"), (2.001, "INVALID")])
def test_a_row_whose_numbers_disagree_is_invalid(
    bench: Any, tmp_path: Path, factor: float, state: str
) -> None:
    from mlcore_bench import report, timing

    result = timing.run(_row(bench, factor), timing.QUICK)
    assert result.state == state
    assert (result.ratio is None) == (state == "INVALID")
    facts = dict(
        processor="p", threads=1, cores=1, system="s", load_before=0.0, mlcore="1", device="d", torch=None,
        numpy="2", python="3", command="c", core_compiled=True,
    )  # fmt: skip
    text, data = report.write(tmp_path, facts, [result])
    row = json.loads(data.read_text(encoding="utf-8"))["rows"][0]
    assert row["state"] == state
    if state == "INVALID":
        assert row["ratio"] is None
        assert row["mlcore"] is None
        assert (
            "| times two | | | **INVALID** | | differs from numpy by 0.0005 of the largest value"
            in text.read_text("utf-8")
        )


def test_a_row_that_raises_says_so(bench: Any) -> None:
    from mlcore_bench import rows, timing

    def broken(data: Any) -> Any:
        raise ValueError("no such kernel\nmore")

    result = timing.run(rows.Row("made up", "broken", rows.normal(x=(4,)), broken, {}), timing.QUICK)
    assert (result.state, result.note) == ("FAILED", "ValueError: no such kernel")


def test_without_a_rival_a_row_has_its_own_figure_only(bench: Any) -> None:
    from mlcore_bench import rows, timing

    row = _row(bench, 3.0)
    alone = rows.Row(row.group, row.name, row.inputs, row.mine, {"no_such_library": row.rivals["numpy"]})
    result = timing.run(alone, timing.QUICK)
    assert result.state == "alone"
    assert result.ratio is None
    assert result.mine is not None


def test_differences(bench: Any) -> None:
    from mlcore_bench.timing import difference

    a = np.array([1.0, np.nan, np.inf, -4.0])
    assert difference([a], [a.copy()]) == 0
    assert difference([a], [a + 0.4]) == pytest.approx(0.4 / 3.6)
    for wrong in (a[:3], np.array([1.0, np.nan, -np.inf, -4.0]), np.array([1.0, 2.0, np.inf, -4.0])):
        assert difference([a], [wrong]) == math.inf
    assert difference([a], [a, a]) == math.inf


def test_wrong_arguments(bench: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main(["--rows", "no such row"]) == 2
    assert "no row matches 'no such row'" in capsys.readouterr().err
    for words in (["--rows", "("], ["--threads", "0"]):
        with pytest.raises(SystemExit):
            bench.main(words)


def test_the_list_of_rows(bench: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main(["--list", "--rows", "training"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4
