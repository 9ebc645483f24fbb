"""Say in which module of a network an error was raised. Runs only once something has already gone wrong."""

from __future__ import annotations

from typing import Any

from mlcore.errors import MlcoreError, render


def locate(error: Exception, module: Any) -> None:
    """Add to `error` that it was raised in `module`, or in the part of it that was named at an inner level.

    Called by each module that the error passes, from the inside out, so the last call knows the whole path.
    """
    trail = error.__dict__.setdefault("_mlcore_trail", [])
    if trail and trail[-1][0] is module:  # a module that calls itself again
        return
    name = ""
    if trail:
        inner = trail[-1][0]
        name = next((name for name, one in module.named_modules() if one is inner), type(inner).__name__)
    trail.append((module, name))
    names = [type(module).__name__, *(name for _, name in reversed(trail) if name)]
    text = f"{'.'.join(names)}, {_brief(trail[0][0])}" if len(trail) > 1 else _brief(module)
    if isinstance(error, MlcoreError):
        error.details["in"] = text
        error.args = (render(error.what, error.details),)
    else:  # the user's own error keeps its text; Python prints notes below it
        notes = error.__dict__.setdefault("__notes__", [])
        notes[:] = [one for one in notes if not one.startswith("  in: ")]
        notes.append(f"  in: {text}")


def _brief(module: Any) -> str:
    extra = module.extra_repr()
    return f"{type(module).__name__}({extra})" if extra and "\n" not in extra else type(module).__name__
