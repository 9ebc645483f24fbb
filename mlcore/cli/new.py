"""``mlcore new backend|domain|op NAME``: a complete package to start from, which works as it stands.

mlcore new backend mychip                             arrays of NumPy, an example to be replaced by the device's library
mlcore new backend mychip --library mychiplib.numpy   the same with the library named
mlcore new backend mychip --kind kernels              own memory, and kernels generated from the operations
mlcore new domain birds                               models and data of a field
mlcore new op softclip                                an operation, in a package of its own
mlcore new op softclip --into ../mlcore-birds         an operation in a package that there is

Nothing is ever overwritten. The package has a plugin, tests, checks, a CI file and a README.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mlcore.cli import starters
from mlcore.cli.output import print_json
from mlcore.cli.starting import Names, check, check_library, package_in, requirement_of
from mlcore.errors import ArgumentError

KINDS = ("arraylib", "kernels")


def add_command(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "new", help="a complete package for a backend, a domain or an operation", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    whats = parser.add_subparsers(metavar="WHAT", dest="what", required=True)
    backend = whats.add_parser("backend", help="a device")
    backend.add_argument("--kind", choices=KINDS, default="arraylib",
                         help="arraylib: an array library's functions are the kernels (the default); "
                         "kernels: own memory, generated kernels")  # fmt: skip
    backend.add_argument("--library", metavar="MODULE", help="the array library's module (default: numpy)")
    backend.add_argument(
        "--requires", metavar="REQUIREMENT", help="what brings the library, e.g. 'toylib>=2'"
    )
    domain = whats.add_parser("domain", help="models and data of a field")
    op = whats.add_parser("op", help="an operation")
    op.add_argument("--into", metavar="FOLDER", help="add it to the package in this folder")
    for one in (backend, domain, op):
        one.add_argument("name", help="a short name in lower case, e.g. mychip")
        one.add_argument(
            "--path", metavar="FOLDER", help="where to write the package (default: ./mlcore-NAME)"
        )
        one.add_argument(
            "--dry-run", action="store_true", help="say what would be written, and write nothing"
        )
        one.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    what = arguments.what
    into = getattr(arguments, "into", None)
    if into is not None and arguments.path is not None:
        raise ArgumentError("--into and --path exclude each other", fix="--into names the package's folder")
    names = check(what, arguments.name, package=into is None)
    if into is not None:
        made = _op_into(Path(into), names, write=not arguments.dry_run)
    else:
        folder = Path(arguments.path or names.distribution)
        made = {"backend": _backend, "domain": _domain, "op": _op}[what](arguments, folder, names)
        (starters.check_free(folder) if arguments.dry_run else made.write())
    _say(made, arguments)
    return 0


def _say(made: starters.Starter, arguments: argparse.Namespace) -> None:
    if arguments.json:
        print_json(
            {
                "name": made.names.name, "distribution": made.names.distribution, "folder": str(made.folder),
                "written": not arguments.dry_run, "lines": made.lines, "files": list(made.files),
                "next": made.following,
            }
        )  # fmt: skip
        return
    verb = "would write" if arguments.dry_run else "wrote"
    print(f"{verb} {len(made.files)} files, {made.lines} lines, to {made.folder}")
    print("\n".join(f"  {name}" for name in made.files))
    print("next:")
    print("\n".join(f"  {command}" for command in made.following))


# -- the kinds -------------------------------------------------------------------------------------------------------


def _backend(arguments: argparse.Namespace, folder: Path, names: Names) -> starters.Starter:
    if arguments.kind == "kernels":
        if arguments.library or arguments.requires:
            raise ArgumentError(
                "--library is for --kind arraylib", fix="leave it out, or take the other kind"
            )
        values = {
            "description": f"The device {names.name} as a backend of mlcore, with generated kernels",
            "dependencies": '"mlcore-core", "numpy>=2.0"',
            "data": '"py.typed", "conformance.*", "*.hpp"',
            "readme_rows": "| Kernels | generated from mlcore's operations, compiled by the device's compiler |",
        }
    else:
        library = check_library(arguments.library or "numpy")
        known = None if arguments.library else "numpy>=2.0"  # as the core has it
        requirement = requirement_of(library, arguments.requires or known)
        example = "" if arguments.library else ": NumPy's, an example to be replaced"
        values = {
            "description": f"The device {names.name} as a backend of mlcore, through {library}",
            "dependencies": f'"mlcore-core", "{requirement}"',
            "data": '"py.typed", "conformance.*"',
            "library": library,
            "requirement": requirement,
            "library_note": example,
            "readme_rows": f"| Arrays and kernels | those of `{library}` ({requirement}) |",
        }
    values["ci_steps"] = (
        f"      - run: mlcore conformance {names.name} --level 1\n"
        f"      - run: mlcore coverage {names.name} --badge coverage.svg\n"
        "      - uses: actions/upload-artifact@v4\n"
        "        with:\n"
        "          name: coverage-${{ matrix.python }}\n"
        "          path: coverage.svg"
    )
    following = (
        f"pip install -e {folder}",
        f"mlcore doctor {names.name}",
        f"mlcore conformance {names.name} --level {0 if arguments.kind == 'kernels' else 1}",
    )
    return starters.starter(arguments.kind, folder, names, values, following)


def _domain(arguments: argparse.Namespace, folder: Path, names: Names) -> starters.Starter:
    values = {
        "description": f"The domain {names.name} of mlcore",
        "summary": f"models of {names.name}",
        "dependencies": '"mlcore-core"',
        "data": '"py.typed"',
        "ci_steps": f"      - run: mlcore doctor {names.name}",
    }
    following = (
        f"pip install -e {folder}",
        f"mlcore doctor {names.name}",
        f"python -m pytest {folder}",
    )
    return starters.starter("domain", folder, names, values, following)


def _op(arguments: argparse.Namespace, folder: Path, names: Names) -> starters.Starter:
    values = {
        "description": "Operations for mlcore",
        "dependencies": '"mlcore-core", "numpy>=2.0"',
        "data": '"py.typed"',
        "ci_steps": f"      - run: mlcore conformance reference -k /{names.name}",
    }
    following = _op_following(folder, names)
    return starters.starter("op", folder, names, values, following)


def _op_following(folder: Path, names: Names) -> tuple[str, ...]:
    return (
        f"pip install -e {folder}",
        f"python -m pytest {folder}",
        f"mlcore conformance reference -k /{names.name}",
    )


# -- an operation in a package that there is -------------------------------------------------------------------------


def _op_into(folder: Path, names: Names, *, write: bool) -> starters.Starter:
    """Add an operation's module and test to a package, and its line to the entry points."""
    package = package_in(folder)
    values = {**starters.common(names), "PACKAGE": package.name, "package": package.name}
    base = package.parent.relative_to(folder)  # where packages are: src, or the folder itself
    files = {
        (base / path.removeprefix("src/")).as_posix() if path.startswith("src/") else path: text
        for path, text in starters.filled(("op",), values, only="OP")
    }
    for path in files:
        if (folder / path).exists():
            raise ArgumentError(f"{folder / path} exists already", cause="nothing is ever overwritten")
    settings = folder / "pyproject.toml"
    changed = with_entry_point(
        settings.read_text(encoding="utf-8"), names.group, names.name, f"{package.name}.{names.name}"
    )
    made = starters.Starter(folder, names, files, _op_following(folder, names))
    if write:
        for path, text in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8")
        settings.write_text(changed, encoding="utf-8")
    return made


def with_entry_point(text: str, group: str, name: str, target: str) -> str:
    """A pyproject.toml with one more entry point, the rest as it stands.

    >>> print(with_entry_point('[project]\\nname = "a"\\n', "mlcore.ops", "f", "a.f"))
    [project]
    name = "a"
    <BLANKLINE>
    [project.entry-points."mlcore.ops"]
    f = "a.f"
    <BLANKLINE>
    """
    import tomllib

    line = f'{name} = "{target}"'
    header = f'[project.entry-points."{group}"]'
    lines = text.splitlines()
    if header in lines:
        lines.insert(lines.index(header) + 1, line)
    else:
        lines += ["", header, line]
    made = "\n".join(lines) + "\n"
    try:
        entered = tomllib.loads(made)["project"]["entry-points"][group][name] == target
    except (tomllib.TOMLDecodeError, KeyError, TypeError):
        entered = False
    if not entered:
        raise ArgumentError(
            f"the entry point {line} could not be added to pyproject.toml", fix=f"write it below {header}"
        )
    return made
