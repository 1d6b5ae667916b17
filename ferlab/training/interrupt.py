"""SIGTERM and SIGINT as a flag that the loop reads at its step boundaries; a second Ctrl-C ends at once."""

import signal
import threading


class Interrupt:
    """Context manager: inside it, `number` is the signal that arrived, or 0. Outside, everything is as
    before.
    """

    number = 0

    def __enter__(self) -> "Interrupt":
        self._before = {}
        if threading.current_thread() is threading.main_thread():  # python handles signals there only
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._arrived)
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def asked(self, setup) -> bool:
        """Whether any of `setup`'s processes got a signal; `number` is then the same in all of them."""
        number = setup.all_reduce_max(self.number)
        self.number = number or self.number  # one may arrive in between
        return number > 0

    def _arrived(self, number: int, _frame) -> None:
        self.number = number
        if number == signal.SIGINT:
            signal.signal(number, self._before[number])
