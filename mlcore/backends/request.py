"""What one asks for: the text that names a device, read.

``toy``, ``toy:1``, ``dist/toy``, ``toy?key=value``, a list ``toy,other`` (the first that works), ``auto``
(the fastest), ``auto,!toy`` (the fastest but for that one).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from mlcore.errors import DeviceError

AUTO: Final = "auto"
FORMS: Final = "write name, name:1, name?key=value, a list a,b, auto, or auto,!name"


@dataclass(frozen=True, slots=True)
class Request:
    """One item of a device specification, parsed.

    >>> Request.parse("toy:1?speed=9&mode=a")
    Request(name='toy', index=1, options={'speed': '9', 'mode': 'a'}, exclude=False)
    """

    name: str
    index: int = 0
    options: Mapping[str, str] = field(default_factory=dict)
    exclude: bool = False

    @classmethod
    def parse(cls, text: str) -> Request:
        """Read ``name``, ``name:1``, ``dist/name``, ``name?key=value``, ``auto`` or ``!name``."""
        head, question, tail = text.strip().partition("?")
        exclude = head.startswith("!")
        name, colon, number = head.removeprefix("!").strip().partition(":")
        bad = not name or (colon and not number.isdecimal()) or (exclude and (colon or question))
        options = {}
        for pair in tail.split("&") if question else ():
            key, equals, value = pair.partition("=")
            bad = bad or not key or not equals
            options[key] = value
        if bad:
            raise DeviceError(
                f"{text!r} does not name a device",
                fix=FORMS,
            )
        return cls(name, int(number or 0), options, exclude)


def parse_list(text: str) -> list[Request]:
    """
    >>> [request.name for request in parse_list("toy:1, auto, !other") if not request.exclude]
    ['toy', 'auto']
    """
    requests = [Request.parse(item) for item in text.split(",") if item.strip()]
    if not requests:
        raise DeviceError(f"{text!r} does not name a device", fix=FORMS)
    return requests
