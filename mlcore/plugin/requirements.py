"""Whether a requirement such as ``toylib>=2,<3`` is met, asked of the installed metadata without importing.

The part of PEP 440 and PEP 508 that plugins declare: names, extras (ignored) and version comparisons. No
environment markers: a plugin decides about those in its probe.
"""

from __future__ import annotations

import re
from typing import Final

from mlcore.errors import PluginError

_REQUIREMENT: Final = r"^\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^\]]*\])?\s*(.*?)\s*$"
_CLAUSE: Final = r"^(~=|===|==|!=|<=|>=|<|>)\s*([A-Za-z0-9.!+*_-]+)$"
_VERSION: Final = (  # compiled when first used, and kept by `re`
    r"^v?(?:(\d+)!)?(\d+(?:\.\d+)*)(?:[-_.]?(a|alpha|b|beta|c|rc|pre|preview)[-_.]?(\d*))?"
    r"(?:(?:[-_.]?(?:post|rev|r)[-_.]?(\d*))|-(\d+))?(?:[-_.]?dev[-_.]?(\d*))?(?:\+.*)?$"
)
_PRE: Final = {"a": 0, "alpha": 0, "b": 1, "beta": 1, "c": 2, "rc": 2, "pre": 2, "preview": 2}
_FINAL: Final = 3

Key = tuple[int, tuple[int, ...], tuple[int, int], int, float]


def version_key(text: str) -> Key:
    """A key that orders versions as PEP 440 does (local parts are ignored).

    >>> version_key("1.0rc1") < version_key("1.0") < version_key("1.0.post1") < version_key("1.2.10")
    True
    """
    match = re.match(_VERSION, text.strip().lower())
    if not match:
        raise PluginError(f"{text!r} is not a version")
    epoch, release, pre, pre_number, post, post_short, dev = match.groups()
    numbers = tuple(map(int, release.split(".")))
    while len(numbers) > 1 and numbers[-1] == 0:
        numbers = numbers[:-1]
    has_post = post is not None or post_short is not None
    if pre:
        stage = (_PRE[pre], int(pre_number or 0))
    elif dev is not None and not has_post:
        stage = (-1, 0)  # 1.0.dev1 comes before 1.0a1
    else:
        stage = (_FINAL, 0)
    posted = int(post or post_short or 0) if has_post else -1
    return int(epoch or 0), numbers, stage, posted, int(dev or 0) if dev is not None else float("inf")


def satisfies(version: str, clauses: str) -> bool:
    """Whether `version` meets all of the comma-separated comparisons.

    >>> satisfies("2.4.1", ">=2,<3"), satisfies("2.4.1", "~=2.3.0"), satisfies("2.4.1", "==2.4.*")
    (True, False, True)
    """
    return all(_meets(version, clause) for clause in clauses.split(",") if clause.strip())


def _meets(version: str, clause: str) -> bool:
    match = re.match(_CLAUSE, clause.strip())
    if not match:
        raise PluginError(f"{clause.strip()!r} is not a version comparison", fix="write for example '>=2,<3'")
    operator, wanted = match.groups()
    if operator in ("==", "!=") and wanted.endswith(".*"):
        prefix = [int(part) for part in wanted[:-2].split(".")]
        release = list(map(int, re.findall(r"\d+", _release(version))))
        release += [0] * (len(prefix) - len(release))
        return (release[: len(prefix)] == prefix) == (operator == "==")
    if operator == "~=":
        return _meets(version, f">={wanted}") and _meets(
            version, f"=={_release(wanted).rpartition('.')[0]}.*"
        )
    if operator == "===":
        return version == wanted
    have, want = version_key(version), version_key(wanted)
    return {
        "==": have == want,
        "!=": have != want,
        "<=": have <= want,
        ">=": have >= want,
        "<": have < want,
        ">": have > want,
    }[operator]


def _release(version: str) -> str:
    match = re.match(_VERSION, version.strip().lower())
    if not match:
        raise PluginError(f"{version!r} is not a version")
    return match.group(2)


def installed_version(distribution: str) -> str | None:
    """The version of an installed distribution, read from its metadata; None when it is not installed.

    >>> installed_version("numpy") is not None, installed_version("no-such-thing")
    (True, None)
    """
    import importlib.metadata  # 20 ms that `import mlcore` does without

    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def split(requirement: str) -> tuple[str, str]:
    """The name and the comparisons of a requirement.

    >>> split("toylib[fast] >=2,<3")
    ('toylib', '>=2,<3')
    """
    match = re.match(_REQUIREMENT, requirement)
    if not match or ";" in requirement or "@" in requirement:
        raise PluginError(f"{requirement!r} is not a requirement", fix="write for example 'toylib>=2'")
    return match.group(1), match.group(2).strip("()")


def unmet(requirement: str) -> str:
    """What is wrong with the installed version of a requirement; empty when it is met.

    >>> unmet("numpy>=1"), unmet("no-such-thing>=2")
    ('', 'needs no-such-thing>=2, which is not installed')
    """
    name, clauses = split(requirement)
    version = installed_version(name)
    if version is None:
        return f"needs {requirement}, which is not installed"
    if not satisfies(version, clauses):
        return f"needs {requirement}; {name} {version} is installed"
    return ""
