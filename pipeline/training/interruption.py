"""Ctrl-C and SIGTERM while something is trained: they wait until a step is done, so that its state can be kept."""

import signal
import threading
from types import FrameType
from typing import Any, Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class HeldSignals:
    """Holds the first Ctrl-C or SIGTERM back until `deliver`, while its `with` block runs; a second one acts at once.

    Signals that end the process without asking, or are ignored, are left alone; so are all outside the main thread,
    where Python handles none.

    Attributes:
        held: the signal that waits; None as long as there is none.
    """

    def __init__(self) -> None:
        self.held: int | None = None
        self._earlier: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            handlers = {number: signal.getsignal(number) for number in _SIGNALS}
            self._earlier = {number: handler for number, handler in handlers.items() if callable(handler)}
            for number in self._earlier:
                signal.signal(number, self._hold)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._earlier.items():
            signal.signal(number, handler)

    def deliver(self) -> None:
        """Do what the signal that waits would have done when it came: usually, raise KeyboardInterrupt."""
        if self.held is not None:
            number, self.held = self.held, None
            self._earlier[number](number, None)

    def _hold(self, number: int, frame: FrameType | None) -> None:
        if self.held is None:
            self.held = number
        else:
            self._earlier[number](number, frame)
