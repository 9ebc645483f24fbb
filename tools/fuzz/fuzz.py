"""Coverage-guided fuzzing of one reader: ``fuzz.py TARGET [--runs N] [--seconds S] [--corpus FOLDER]``.

Needs atheris. Inputs that found something new are kept in the folder, so that a later run goes on from there; an input
that crashes is written beside it. `run_all.py` runs all targets and makes the table of docs/fuzzing.md.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import shutil
import sys
import warnings
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["mlcore.io", "mlcore_onnx"]):
    import targets

    targets.warm_up()  # imports the readers, which are only watched if that happens here

MEMORY = 320 << 20  # bytes beside what the process has when it begins


def limit_memory() -> None:
    """More than that is a MemoryError, which is a crash. A sanitizer's own tables are larger than any limit."""
    if "asan" in os.environ.get("LD_PRELOAD", ""):
        return
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else 0
    if pages:
        most = pages * os.sysconf("SC_PAGESIZE") + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("target", choices=tuple(targets.TARGETS))
    parser.add_argument("--runs", type=int, default=-1, help="inputs (default: no end)")
    parser.add_argument("--seconds", type=int, default=0, help="at most (default: no end)")
    parser.add_argument("--corpus", type=Path, default=Path("build/fuzz"), help="where inputs are kept")
    parser.add_argument(
        "--seed", type=int, default=0, help="of the random mutations (default: another one each time)"
    )
    parser.add_argument("--replay", type=Path, nargs="*", help="run these inputs, once each, and stop")
    arguments = parser.parse_args()
    chosen = targets.TARGETS[arguments.target]
    warnings.simplefilter("ignore")
    folder = targets.folder_for(chosen.name)
    one = lambda data: targets.run(chosen, folder, data)  # noqa: E731
    try:
        if arguments.replay is not None:
            files = [
                p
                for given in arguments.replay
                for p in (sorted(given.rglob("*")) if given.is_dir() else [given])
            ]
            for path in files:
                if path.is_file():
                    one(path.read_bytes())
            print(f"{chosen.name}: {len(files)} inputs replayed")
            return
        kept, begun = arguments.corpus / chosen.name, arguments.corpus / f"{chosen.name}-seeds"
        for place in (kept, begun):
            place.mkdir(parents=True, exist_ok=True)
        seeds = folder / "seeds"
        seeds.mkdir()
        for number, data in enumerate(chosen.seeds(seeds)):
            if len(data) <= targets.LONGEST:
                (begun / f"{number:03}").write_bytes(data)
                with contextlib.suppress(Exception):  # a crash is found again, with its own report
                    one(data)
        shutil.rmtree(seeds)
        words = arguments.corpus / f"{chosen.name}.words"
        words.write_text("".join(f'"{_escaped(word)}"\n' for word in chosen.words))
        limit_memory()
        options = [
            f"-runs={arguments.runs}", f"-max_total_time={arguments.seconds}", f"-max_len={targets.LONGEST}",
                "-timeout=600",
            "-rss_limit_mb=4096", "-print_final_stats=1", f"-dict={words}",
                f"-artifact_prefix={arguments.corpus}/{chosen.name}-",
            f"-seed={arguments.seed}", "-verbosity=1", "-reload=0",
        ]  # fmt: skip
        atheris.Setup([sys.argv[0], *options, str(kept), str(begun)], one)
        atheris.Fuzz()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
