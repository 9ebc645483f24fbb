"""What a module keeps and takes over: state_dict, load_state_dict, and weights from files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from mlcore.errors import ArgumentTypeError
from mlcore.nn import state
from mlcore.nn.hooked import Hooked

Rename = Mapping[str, str | None] | Callable[[str], str | None] | Iterable[tuple[str, str]]


class Stateful(Hooked):
    """Base of Module."""

    def state_dict(
        self, *, destination: dict[str, Any] | None = None, prefix: str = "", keep_vars: bool = False
    ) -> dict[str, Any]:
        """Parameters and persistent buffers by dotted name, as snapshots (`keep_vars`: the objects themselves)."""
        return state.collect(self, {} if destination is None else destination, prefix, keep_vars)

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> state.Loaded:
        """Take over the values of a mapping of names to tensors or arrays, cast to the dtype and device held here.

        Nothing changes unless everything fits: missing, unexpected and mismatched names are raised together
        as one `StateDictError`. With strict=False names may be missing or unexpected; shapes must fit all the same.
        With assign=True parameters take the given dtype and device too. Returns (missing_keys, unexpected_keys).
        """
        return state.load(self, state_dict, strict, assign)

    def load_weights(
        self,
        path: str | os.PathLike[str],
        rename: Rename | None = None,
        strict: bool = True,
        *,
        key: str | None = None,
    ) -> state.Loaded:
        """Take over the weights of a file or folder of any format that `mlcore.load` knows, one tensor at a time.

        `rename` turns the file's names into this module's: a dict (a name, or the beginning of dotted names; longest
        first; None leaves it out), a function of a name, or pairs of a regular expression and its replacement. `key`
        names the part of a nested checkpoint, such as "model"; without it the part that fits best is taken.

        Names and shapes are compared before anything is read: what is missing, unexpected or misshapen is raised as one
        table, a `StateDictError`. With strict=False names may be missing or unexpected. A tensor that the module has
        under two names may stand in the file under one. Should the file turn out to be damaged halfway, the error says
        so, and the tensors before it have been taken over. Returns (missing_keys, unexpected_keys).

        >>> import tempfile
        >>> import mlcore as ml
        >>> net = ml.nn.Linear(2, 3)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     ml.save({f"old.{name}": value for name, value in net.state_dict().items()}, folder + "/net.safetensors")
        ...     net.load_weights(folder + "/net.safetensors", rename={"old": ""})
        Loaded(missing_keys=[], unexpected_keys=[])
        """
        from mlcore.io.into_module import load_weights

        return load_weights(self, path, rename, strict, key)

    def get_extra_state(self) -> Any:
        """What else belongs to the state_dict, under the key `_extra_state`; override it with `set_extra_state`."""
        raise ArgumentTypeError(
            f"{type(self).__name__} has no extra state", fix="define get_extra_state(self)"
        )

    def set_extra_state(self, state: Any) -> None:
        """Take over what `get_extra_state` gave."""
        raise ArgumentTypeError(
            f"{type(self).__name__} takes no extra state", fix="define set_extra_state(self, state)"
        )
