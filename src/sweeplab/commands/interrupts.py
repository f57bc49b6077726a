"""Ctrl-C, or a notebook's "interrupt kernel", while modules are being imported."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

PATIENCE = 3  # the interrupt that ends an import, too: a module of the user's may never end


@contextmanager
def imports_kept_whole() -> Iterator[None]:
    """Let Ctrl-C wait meanwhile until what is being imported is whole.

    PyTorch and NumPy refuse to be imported again after an import that was cut off: a notebook's
    kernel would be lost. Does nothing outside the main thread, where no signal arrives.
    """
    before = signal.getsignal(signal.SIGINT)
    if not callable(before) or threading.current_thread() is not threading.main_thread():
        yield
        return
    deferral = _Deferral(before)
    signal.signal(signal.SIGINT, deferral.heed)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        deferral.forget()


class _Deferral:
    """Keeps an interrupt back until nothing is being imported."""

    def __init__(self, handler: Callable[[int, FrameType | None], object]) -> None:
        """Send it to `handler` in the end."""
        self._handler = handler
        self._outer = _imports(sys._getframe())  # of the module that calls sweeplab, if it is one
        self._is_over: threading.Event | None = None  # tells the thread that waits, if one does
        self._received = 0

    def heed(self, number: int, frame: FrameType | None) -> None:
        """Heed the signal, or have it come again after the import."""
        self._received += 1
        if self._received >= PATIENCE or not self._is_importing(frame):
            self._received = 0
            self.forget()
            self._handler(number, frame)
        elif self._is_over is None:
            self._is_over = threading.Event()
            threading.Thread(target=self._send_again, args=(self._is_over,), daemon=True).start()

    def _is_importing(self, frame: FrameType | None) -> bool:
        return _imports(frame) > self._outer

    def _send_again(self, is_over: threading.Event) -> None:
        main = threading.main_thread().ident
        assert main is not None
        while not is_over.wait(0.05):
            if not self._is_importing(sys._current_frames().get(main)):
                self._is_over = None
                self._received -= 1  # it was counted already
                os.kill(os.getpid(), signal.SIGINT)
                return

    def forget(self) -> None:
        """Send no signal again: it would hit what the user does next."""
        if self._is_over is not None:
            self._is_over.set()
            self._is_over = None


def _imports(frame: FrameType | None) -> int:
    """Count the frames of imports in a stack."""
    found = 0
    while frame is not None:
        found += frame.f_code.co_filename.startswith("<frozen importlib")
        frame = frame.f_back
    return found
