"""A user's mistake ends in one clear message and an exit code, never in a traceback."""

import contextlib
import functools
import os
import signal
import sys


class UserError(Exception):
    """Something the user can fix: the message says what is wrong, where, and how to fix it."""

    def __init__(self, message: str, *, code: int = 2) -> None:
        super().__init__(message)
        self.code = code

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows of it: IPython asks for this."""
        return [f"error: {self}"]


class Stopped(UserError):
    """A run that was asked to end by a signal: `where` it stopped and the command that goes on with it."""

    def __init__(self, number: int, where: str, command: str) -> None:
        super().__init__(
            f"by {signal.Signals(number).name} {where}; resume with: {command}", code=128 + number
        )


def first_ten(problems: list[str]) -> str:
    """A count's worth of problems as indented lines: ten of them, then how many more there are."""
    more = [f"... and {len(problems) - 10:,} more"] if len(problems) > 10 else []
    return "\n".join(f"  {line}" for line in problems[:10] + more)


def first_of_each(problems: dict[str, list[str]], *, lines: int = 8) -> str:
    """Problems by kind, causes first, as at most so many indented lines: all, or the first one of each kind
    and how many more there are.
    """
    listed = [text for texts in problems.values() for text in texts]
    if len(listed) > lines:
        listed = [
            texts[0] + (f" (and {len(texts) - 1:,} more like it)" if len(texts) > 1 else "")
            for texts in problems.values()
            if texts
        ]
    if len(listed) > lines:
        listed[lines - 1 :] = [f"... and {len(listed) - lines + 1:,} more kinds of problems"]
    return "\n".join(f"  {line}" for line in listed)


def command(main):
    """Decorate a script's main(): a UserError becomes its message on stderr and its exit code, and so do what
    the system refuses (4) and a Ctrl-C that nobody waits for (130). Where nobody reads the output any more,
    as behind `| head`, it ends without a word (141).
    """

    @functools.wraps(main)
    def run(*args, **kwargs):
        if signal.getsignal(signal.SIGINT) is _leave:  # all is imported
            signal.signal(signal.SIGINT, signal.default_int_handler)
            sys.excepthook = sys.__excepthook__
        sys.stdout, sys.stderr = (_speakable(stream) for stream in (sys.stdout, sys.stderr))
        try:
            result = main(*args, **kwargs)
            sys.stdout.flush()  # now, as Python itself would do it too late to be caught
            return result
        except BrokenPipeError:
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(141)  # 128 + SIGPIPE
        except UserError as error:
            label, text, code = "stopped" if isinstance(error, Stopped) else "error", str(error), error.code
        except KeyboardInterrupt:
            label, text, code = "stopped", "at once, by Ctrl-C.", 128 + signal.SIGINT
        except OSError as error:
            label, text, code = "error", f"the system refuses: {error}.", 4
        rank = os.environ.get("RANK", "0")
        sys.stderr.write(f"{label}{f' (rank {rank})' if rank.isdigit() and rank != '0' else ''}: {text}\n")
        sys.exit(code)

    return run


def while_importing() -> None:
    """Until main() of one of the suite's scripts begins, let a Ctrl-C, and memory that ends while torch is
    loaded, be one line, too. Other programs that import the suite are left as they are.
    """
    file = getattr(sys.modules.get("__main__"), "__file__", None) or ""
    ours = os.path.dirname(os.path.realpath(file)) == os.path.dirname(
        os.path.dirname(os.path.realpath(__file__))
    )
    if file and ours and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)
        sys.excepthook = _explain


def _leave(number: int, _frame) -> None:
    sys.stderr.write("stopped: at once, by Ctrl-C.\n")
    sys.stderr.flush()
    os._exit(128 + number)  # an exception might be taken for a failed import, somewhere on the way


def _explain(kind: type[BaseException], error: BaseException, trace) -> None:
    full = ("failed to map segment", "cannot allocate memory", "Cannot allocate memory")
    if issubclass(kind, MemoryError) or any(sign in str(error) for sign in full):
        sys.stderr.write(
            "error: this process may not use enough memory to load torch; raise its limit (ulimit -v), or "
            "close other programs.\n"
        )
    else:
        sys.__excepthook__(kind, error, trace)


def _speakable(stream):
    """`stream`, but never at a loss for a file name's characters; somewhere to write if it is closed."""
    with contextlib.suppress(AttributeError):  # a notebook's
        stream.reconfigure(errors="backslashreplace")
    return stream or open(os.devnull, "w")
