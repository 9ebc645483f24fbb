"""`mlcore bench` works from end to end, and shows no figure where the numbers disagree. No time is asserted."""

from __future__ import annotations

import importlib.util
import json
import math
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlcore.bench import goals, peaks, processes, report, rows, session, timing
from mlcore.bench.rows import Row, Task, Work
from mlcore.cli import main
from mlcore.errors import MlcoreError

TORCH = importlib.util.find_spec("torch") is not None
FACTS = dict(
    processor="p", cores=1, system="s", load_before=0.0, mlcore="1", device="d", torch=None,
    numpy="2", python="3", command="c", core_compiled=True, others={},
)  # fmt: skip


def test_rows_from_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pattern = r"overhead: x \+ y$|training steps: tiny MLP|base: tiny MLP.*training"
    code = main(["bench", "--quick", "--threads", "1", "--rows", pattern, "--out", str(tmp_path)])
    printed = capsys.readouterr().out
    assert code == 0, printed
    found = json.loads((tmp_path / "side_by_side.json").read_text(encoding="utf-8"))
    made = {row["name"]: row for row in found["rows"]}
    assert list(made) == ["x + y", "tiny MLP 4-64-64-2, batch 1", "tiny MLP 4-64-64-2, batch 1 (training)"]
    for row in made.values():
        assert row["state"] == ("ok" if TORCH else "alone")
        assert row["threads"] == 1
        assert 0 < row["mlcore"]["min"] <= row["mlcore"]["median"]
        assert (row["ratio"] is None) == (row["state"] == "alone")
    training = made["tiny MLP 4-64-64-2, batch 1"]
    assert 0 < training["floor"] < training["mlcore"]["median"]
    if TORCH:
        assert set(training["rivals"]) == {"torch", "torch (fused AdamW)"}
    assert {goal["goal"] for goal in found["goals"]} >= {"training steps, worst ratio"}
    assert set(found["header"]["peaks"]) == {"1"}
    text = (tmp_path / "side_by_side.md").read_text(encoding="utf-8")
    assert "| x + y |" in text
    assert "## training steps, 1 thread" in text


def test_a_device_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--quick", "--rows", "overhead: a @ b, 8x8$", "--out", str(tmp_path), "--device", "no_such"]
    assert main(["bench", *words]) == 2
    assert "no_such" in capsys.readouterr().err


# -- comparing, with processes that are played ---------------------------------------------------------------------


class Played:
    """A library's process without a process: its row gives these numbers."""

    def __init__(self, values: list[Any] | Exception) -> None:
        self.values = values

    def ask(self, do: str, **what: Any) -> Any:
        if isinstance(self.values, Exception):
            raise self.values
        if do == "values":
            np.savez(what["file"], *self.values)
        return {"count": 3, "block": 0.5}.get(do)


class PlayedPool(dict[str, Played]):
    threads = 1


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Callable[..., timing.Result]:
    """Run a made-up row: mlcore's numbers, and those of others by their names."""
    monkeypatch.setattr(timing, "installed", lambda name: name != "missing")

    def run(
        mine: Any, also: tuple[str, ...] = (), rivals: tuple[str, ...] = ("torch",), **others: Any
    ) -> timing.Result:
        pool = PlayedPool(mlcore=Played(mine), **{name: Played(found) for name, found in others.items()})
        row = Row("made up", "a row", rows.normal(x=(4,)), lambda lib, data: Task("1", np.asarray), Work(),
                  {name: {} for name in rivals}, also)  # fmt: skip
        return timing.run(row, pool, timing.QUICK)  # type: ignore[arg-type]

    return run


X = np.array([1.0, 2.0], np.float32)


def test_a_row_whose_numbers_agree_is_timed(play: Callable[..., timing.Result]) -> None:
    result = play([X], torch=[X])
    assert (result.state, result.ratio, result.difference) == ("ok", 1.0, 0.0)


@pytest.mark.parametrize("theirs", [[X * 1.001], [X[:1]], [X, X], [X * np.nan]])
def test_a_row_whose_numbers_disagree_is_invalid(
    play: Callable[..., timing.Result], tmp_path: Path, theirs: list[Any]
) -> None:
    result = play([X], torch=theirs)
    assert result.state == "INVALID"
    assert result.ratio is None
    assert result.mine is None
    text, data = report.write(tmp_path, FACTS, [result])
    row = json.loads(data.read_text(encoding="utf-8"))["rows"][0]
    assert (row["state"], row["ratio"], row["mlcore"]) == ("INVALID", None, None)
    assert "| a row | | | **INVALID** | | | differs from torch by" in text.read_text("utf-8")


def test_a_row_that_raises_says_who_and_why(play: Callable[..., timing.Result]) -> None:
    wrong = processes.WorkerError("ValueError: no such kernel")
    result = play([X], torch=wrong)
    assert (result.state, result.note) == ("FAILED", "torch: ValueError: no such kernel")
    assert play(wrong, torch=[X]).note == "mlcore: ValueError: no such kernel"


def test_a_library_beside_the_rivals_is_left_out_where_it_fails(play: Callable[..., timing.Result]) -> None:
    wrong = processes.WorkerError("TypeError: never heard of it")
    result = play([X], also=("jax", "numpy", "missing"), torch=[X], jax=wrong, numpy=[X * 2])
    assert (result.state, list(result.others)) == ("ok", [])
    assert "jax: TypeError: never heard of it" in result.note
    assert "differs from numpy" in result.note
    assert list(play([X], also=("numpy",), torch=[X], numpy=[X]).others) == ["numpy"]


def test_without_a_rival_a_row_has_its_own_figure_only(play: Callable[..., timing.Result]) -> None:
    result = play([X], rivals=("missing",))
    assert (result.state, result.ratio) == ("alone", None)
    assert result.mine is not None


def test_differences() -> None:
    a = np.array([1.0, np.nan, np.inf, -4.0])
    assert timing.difference([a], [a.copy()]) == 0
    assert timing.difference([a], [a + 0.4]) == pytest.approx(0.4 / 3.6)
    for wrong in (a[:3], np.array([1.0, np.nan, -np.inf, -4.0]), np.array([1.0, 2.0, np.inf, -4.0])):
        assert timing.difference([a], [wrong]) == math.inf
    assert timing.difference([a], [a, a]) == math.inf
    assert timing.difference([np.array([True])], [np.array([False])]) == 1
    assert timing.difference([np.zeros(0)], [np.zeros(0)]) == 0


def test_dropouts_compare_whatever_their_masks() -> None:
    row = rows.load()["sequences: dropout 4096x1024, forward + backward"]
    rng = np.random.default_rng(0)
    data = {key: rng.standard_normal((400, 1000), np.float32) for key in "xg"}
    data["x"][0] = 0
    mine, theirs = (
        row.comparable([one * np.float32(1 / 0.9) for one in (data["x"] * mask, data["g"] * mask)], data)
        for mask in (rng.random((2, 400, 1000)) < 0.9)
    )
    assert timing.difference(mine, theirs) < 2e-3
    wrong = row.comparable([data["x"], data["g"] * np.float32(1 / 0.9)], data)
    assert timing.difference(mine, wrong) > 0.1


# -- floors --------------------------------------------------------------------------------------------------------

PEAKS = peaks.Peaks({"float32": 1e11, "bfloat16": 4e11}, [(1e6, 1e11), (1e8, 2.5e10)])


def test_a_floor_is_the_longer_of_arithmetic_and_traffic() -> None:
    assert PEAKS.floor(Work(1e11, 8, "float32")) == pytest.approx(1.0)
    assert PEAKS.floor(Work(4e11, 8, "bfloat16")) == pytest.approx(1.0)
    assert PEAKS.floor(Work(1.0, 2.5e10)) == pytest.approx(1.0)
    assert PEAKS.floor(Work(1.0, 1e3)) == pytest.approx(1e-8), (
        "small sets have the bandwidth of the smallest measured"
    )
    assert PEAKS.floor(Work()) is None
    assert PEAKS.floor(Work(1.0, 1.0, "float64")) is None, "its peak was not measured"


def test_bandwidth_lies_between_the_measured_sizes() -> None:
    assert PEAKS.bandwidth(1e7) == pytest.approx(5e10)
    assert 5e10 < PEAKS.bandwidth(5e6) < 1e11


def test_peaks_are_raised_by_what_was_reached() -> None:
    found = PEAKS.raised([("float32", 2e11), ("bfloat16", 1.0), ("int8", 9e12)], [(1e7, 8e10), (1e8, 1e10)])
    assert found.flops == {"float32": 2e11, "bfloat16": 4e11}
    assert found.bandwidths == [(1e6, 1e11), (1e7, 8e10), (1e8, 2.5e10)]
    faster = PEAKS.raised([], [(1e8, 2e11)]).bandwidth(1e6)
    assert faster == 2e11, "a smaller working set is never slower"


def test_every_row_declares_its_work() -> None:
    for row in rows.load().values():
        assert row.group == "overhead" or row.work.flops or row.work.bytes, row.id


# -- what is to hold -----------------------------------------------------------------------------------------------


def result(name: str, ratio: float | None, group: str = "training steps", **facts: Any) -> timing.Result:
    mine, theirs = timing.Spread.of([ratio or 1.0]), timing.Spread.of([1.0])
    state = timing.OK if ratio else timing.FAILED
    return timing.Result(
        group, name, state, facts.pop("threads", 1), mine=mine, rivals={"torch": theirs}, **facts
    )


def verdicts(*results: timing.Result) -> dict[str, goals.Verdict]:
    return {one.goal.text: one for one in goals.judge(results)}


def test_goals_are_computed_from_the_rows() -> None:
    found = verdicts(result("a", 0.2), result("b", 0.8))
    mean, worst = (
        found[f"training steps, {what}"] for what in ("geometric mean of the ratios", "worst ratio")
    )
    assert (mean.value, mean.met) == (pytest.approx(0.4), True)
    assert (worst.value, worst.met, worst.misses) == (0.8, True, ())
    worst = verdicts(result("a", 0.2), result("b", 0.81))["training steps, worst ratio"]
    assert (worst.met, worst.misses) == (False, (("b", 0.81),))


def test_a_row_without_a_figure_misses() -> None:
    found = verdicts(result("a", 0.2), result("b", None))
    assert all(not one.met and one.misses == (("b", None),) for one in found.values())
    text = "\n".join(goals.lines(list(found.values())))
    assert "- training steps, worst ratio, 1 thread: b no figure" in text


def test_goals_know_shares_and_what_stands_alone() -> None:
    product = result("512", 0.5, "matmul", others={"onednn": timing.Spread.of([0.4])})
    assert verdicts(product)["float32 matmul, least share of oneDNN's own speed"].misses == (("512", 0.8),)
    large = result("add", 0.5, "elementwise", work=Work(1, 1e8), floor=0.3)
    assert verdicts(large)["large elementwise and reductions, least share of the floor"].misses == (
        ("add", 0.6),
    )
    seconds = timing.Result(
        "fresh process", "import and x + y: time", timing.ALONE, mine=timing.Spread.of([0.19])
    )
    assert verdicts(seconds)["import and first operation, seconds"].met


# -- the page, the command -----------------------------------------------------------------------------------------


def test_the_table_replaces_what_stands_between_the_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n\n{report.BEGIN}\nstale\n{report.END}\n\nafter\n", encoding="utf-8")
    for name in ("first", "second"):
        report.write_page(page, FACTS, [result(name, 0.5)])
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"before\n\n{report.BEGIN}\n\n## mlcore side by side")
    assert text.endswith(f"\n{report.END}\n\nafter\n")
    assert "| second |" in text
    assert "stale" not in text
    assert "| first |" not in text


@pytest.mark.parametrize(
    "text", ["", report.BEGIN, report.END + report.BEGIN, 2 * (report.BEGIN + report.END)]
)
def test_a_page_without_its_marks_is_left_alone(tmp_path: Path, text: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(text, encoding="utf-8")
    with pytest.raises(MlcoreError, match="no place for the table"):
        report.check_page(page)
    assert main(["bench", "--rows", "fresh", "--page", str(page)]) == 2
    assert page.read_text(encoding="utf-8") == text


def test_wrong_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--rows", "no such row"]) == 2
    assert "no row matches 'no such row'" in capsys.readouterr().err
    for words in (["--rows", "("], ["--threads", "0"], ["--threads", "some"], ["--against", "nobody"]):
        with pytest.raises(SystemExit):
            main(["bench", *words])


def test_the_list_of_rows(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--list", "--rows", "training steps"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 9
    assert main(["bench", "--list", "--quick"]) == 0
    quick = capsys.readouterr().out.splitlines()
    assert main(["bench", "--list"]) == 0
    assert set(quick) < set(capsys.readouterr().out.splitlines())


# -- processes -----------------------------------------------------------------------------------------------------


def test_a_process_answers_and_says_what_went_wrong() -> None:
    with processes.Process("mlcore", 1) as process:
        process.ask("build", key="a", row="overhead: x + y", how={})
        assert process.ask("count", key="a", block=1e-4) >= 1
        with pytest.raises(processes.WorkerError, match="KeyError: 'no such row'"):
            process.ask("build", key="b", row="no such row", how={})
        assert process.ask("memory")["peak"] > 0
    assert not process.alive


def test_a_process_that_ends_says_how() -> None:
    with processes.Process("mlcore", 1) as process:
        process.ask("warm")
        process.child.kill()
        with pytest.raises(processes.WorkerError, match="the process of mlcore ended with status -9"):
            process.ask("memory")


def test_a_rival_s_process_does_not_import_the_core(tmp_path: Path) -> None:
    """Its memory would be mlcore's too. NumPy's is one that can always be asked."""
    code = (
        "from mlcore.bench import worker\nimport sys\nworker.Worker('numpy', 1)\n"
        "print(sorted(n for n in sys.modules if n.startswith('mlcore.') and 'bench' not in n))"
    )
    alone = processes.ALONE.format(package=str(processes.PACKAGE))
    done = subprocess.run(
        [sys.executable, "-P", "-c", alone + code], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.stdout.strip() in ("[]", "['mlcore.errors']"), done.stdout + done.stderr


def test_quick_runs_fewer_rows() -> None:
    full, quick = (session.Plan(re.compile(""), [1], effort) for effort in (timing.FULL, timing.QUICK))
    assert 0 < len(quick.timed()) < len(full.timed())
    assert 0 < len(quick.remembered()) < len(full.remembered())
