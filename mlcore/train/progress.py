"""What one sees while a model trains: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import sys
import time
from typing import Any, TextIO

from tqdm import tqdm

PAUSE = 10.0  # seconds between two lines of one epoch where there is no terminal


def clock(seconds: float) -> str:
    """Minutes and seconds, hours where there are some.

    >>> clock(75), clock(3700.4), clock(float("inf"))
    ('1:15', '1:01:40', '?')
    """
    if not seconds < 360_000:
        return "?"
    whole = int(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def _size(stream: TextIO) -> dict[str, Any]:
    """How wide the bar may be. Some terminals say they have no columns at all, and tqdm would then show nothing."""
    try:
        columns, lines = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):  # no such thing, as in a notebook
        return {"dynamic_ncols": True}
    return {"dynamic_ncols": True} if columns and lines else {"ncols": 110, "nrows": 24}


class Progress:
    """Shows the progress through `total` samples (all epochs together): loss, accuracy, samples per second, time left.

    On a terminal that is one live bar; elsewhere a line now and then. `quiet` shows nothing. It writes to `stream`
    (standard error by default, so that a program's output stays clean).
    """

    def __init__(
        self,
        total: int,
        *,
        done: int = 0,
        unit: str = "img",
        stream: TextIO | None = None,
        quiet: bool = False,
    ) -> None:
        self.total, self.done, self.unit, self.quiet = total, done, unit, quiet
        self.first = done
        self.stream = stream or sys.stderr
        self.label = ""
        self.started = self.spoke = time.monotonic()
        self.bar: Any = None
        if not quiet and self.stream.isatty():
            self.bar = tqdm(
                total=total,
                initial=done,
                unit=unit,
                unit_scale=True,
                file=self.stream,
                **_size(self.stream),
                mininterval=0.1,
                leave=False,
                bar_format="{desc} {percentage:3.0f}%|{bar}| {rate_fmt}{postfix}, {remaining} left",
            )

    def step(self, samples: int, loss: float, accuracy: float) -> None:
        """`samples` more are done; `loss` and `accuracy` are the epoch's means so far."""
        self.done += samples
        now = f"loss {loss:.4f}, accuracy {100 * accuracy:.2f} %"
        if self.bar is not None:
            self.bar.set_postfix_str(now, refresh=False)
            self.bar.update(samples)
        elif not self.quiet and time.monotonic() - self.spoke >= PAUSE:
            self._line(f"{self.label}  {now}, {self.rate():.0f} {self.unit}/s, {clock(self.left())} left")

    def epoch(self, label: str) -> None:
        """A new epoch begins; `label` stands before the bar."""
        self.label = label
        if self.bar is not None:
            self.bar.set_description_str(label)

    def say(self, text: str) -> None:
        """A line that stays, above the bar."""
        if self.bar is not None:
            self.bar.write(text, file=self.stream)
        elif not self.quiet:
            self._line(text)

    def rate(self) -> float:
        """Samples per second since the start."""
        return (self.done - self.first) / max(time.monotonic() - self.started, 1e-9)

    def left(self) -> float:
        """Seconds that the rest will take at that rate."""
        rate = self.rate()
        return (self.total - self.done) / rate if rate else float("inf")

    def close(self) -> None:
        """Take the bar away."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    def _line(self, text: str) -> None:
        self.spoke = time.monotonic()
        print(text, file=self.stream, flush=True)
