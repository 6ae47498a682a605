"""Run the user's own code: functions that make data or networks, and the modules that define them.

Whatever such code raises, also ``SystemExit`` and ``KeyboardInterrupt``, becomes one line that names the function and
the place in the user's file; so does a call of ``os._exit``. Its output goes to standard error, because standard output
belongs to the command. Settings of the whole process that would change the numbers of other cells are put back
afterwards.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from types import FrameType
from typing import Any, NoReturn

from nfa.errors import UserError, describe, users_place

_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "CUBLAS_WORKSPACE_CONFIG")
_DTYPE, _DEVICE = "number type", "device"
# Settings of a torch that was just imported; None: unknown.
_FRESH = {
    _DTYPE: "float32",
    _DEVICE: None,
    "threads": None,
    "gradients": True,
    "precision": "highest",
    "deterministic": 0,
    "tf32": True,
    "benchmark": False,
    "flushed": False,
}


@contextmanager
def users_code(
    doing: str, after: str = "", *, alone: bool = False, passing: tuple[type[BaseException], ...] = (UserError,)
) -> Iterator[None]:
    """Run the user's code in the body.

    Args:
        doing: Start of the error message, before "raised", e.g. ``my_data:make: calling it without arguments``.
        after: End of the error message.
        alone: True if the process runs this code only, so that torch's default number type and device may stay as the
            code sets them.
        passing: Exceptions that pass through unchanged, because the caller handles them.

    Raises:
        UserError: In place of any other exception; or the code changes torch's default number type or device, which
            other cells of a sweep would then use.
    """
    with _unchanged(doing, alone), _one_line(doing, after, passing), _exits_raise(), output_aside():
        yield


@contextmanager
def of_users_code(doing: str) -> Iterator[None]:
    """Run nfa's own code in the body, which calls the user's code at many places, e.g. a whole stage.

    Raises:
        UserError: In place of an exception that the user's code raises, and of every ``SystemExit``. An exception whose
            traceback has no file of the user is a fault of nfa and passes through.
    """
    from nfa.errors import Preempted

    with _unchanged(doing, alone=False), _exits_raise(), output_aside(), _own_interrupt() as interrupted:
        try:
            yield
        except (UserError, Preempted):
            raise
        except BaseException as error:
            is_nfas = users_place(error) is None and not isinstance(error, SystemExit)
            if is_nfas or interrupted(error):
                raise
            raise UserError(f"{doing}: your code raised {describe(error)}") from None


@contextmanager
def _one_line(doing: str, after: str, passing: tuple[type[BaseException], ...]) -> Iterator[None]:
    """Turn exceptions of the body into one line."""
    with _own_interrupt(signal.SIGTERM) as interrupted:
        try:
            yield
        except passing:
            raise
        except BaseException as error:
            if interrupted(error):
                raise
            raise UserError(f"{doing} raised {describe(error)}{after}") from None


@contextmanager
def _exits_raise() -> Iterator[None]:
    """Make ``os._exit``, which would end the process without a message, raise ``SystemExit`` in the body.

    It still ends a process that the user's code has forked, and it still works for nfa's own code.
    """
    leave, process = os._exit, os.getpid()

    def raise_instead(status: int) -> NoReturn:
        caller = str(sys._getframe(1).f_globals.get("__name__"))
        if os.getpid() != process or caller.partition(".")[0] == "nfa":
            leave(status)
        raise SystemExit(f"os._exit({status}) ends the process without a message; raise an exception instead")

    os._exit = raise_instead
    try:
        yield
    finally:
        os._exit = leave


class _Interrupted(KeyboardInterrupt):
    """Raised for a Ctrl-C of the person at the keyboard; a plain ``KeyboardInterrupt`` is raised by the user's code."""


def _interrupt(signum: int, frame: FrameType | None) -> NoReturn:
    raise _Interrupted


@contextmanager
def _own_interrupt(*others: signal.Signals) -> Iterator[Callable[[BaseException], bool]]:
    """Yield a function that tells a Ctrl-C from a ``KeyboardInterrupt`` of the user's code.

    Signal handlers of SIGINT and of the ``others`` are put back if the code changes them.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda error: isinstance(error, KeyboardInterrupt)
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, *others)}
    replaced = before[signal.SIGINT] in (signal.default_int_handler, _interrupt)
    if replaced:
        signal.signal(signal.SIGINT, _interrupt)
    try:
        yield lambda error: isinstance(error, _Interrupted if replaced else KeyboardInterrupt)
    finally:
        for number, handler in before.items():
            if handler is not None and signal.getsignal(number) is not handler:  # None: not set from Python
                signal.signal(number, handler)


@contextmanager
def output_aside() -> Iterator[None]:
    """Redirect the output of the body, and of programs that it starts, to standard error."""
    with ExitStack() as stack:
        if sys.stdout is not None:
            with suppress(OSError, ValueError):  # a pipe without a reader, a closed file
                sys.stdout.flush()
        stack.enter_context(redirect_stdout(sys.stderr))
        with suppress(OSError):  # standard output or error is closed
            kept = os.dup(1)
            stack.callback(os.close, kept)
            os.dup2(2, 1)
            stack.callback(os.dup2, kept, 1)
        yield


@contextmanager
def _unchanged(doing: str, alone: bool) -> Iterator[None]:
    """Put back the settings of the whole process: its folder, and how numpy and torch compute."""
    import numpy as np

    folder = os.getcwd()
    environment = {name: os.environ.get(name) for name in _VARIABLES}
    before = _torch_settings()
    with np.errstate():
        try:
            yield
            if not alone:
                _refuse_defaults(doing, before)
        finally:
            with suppress(OSError):  # the folder was removed
                os.chdir(folder)
            for name, value in environment.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value
            _restore_torch(before, alone)


def _torch_settings() -> dict[str, Any]:
    """Read torch's settings of the whole process; those of a fresh torch if torch is not imported."""
    if "torch" not in sys.modules:
        return dict(_FRESH)
    import torch

    device = getattr(sys.modules.get("torch.utils._device"), "CURRENT_DEVICE", None)  # imported when a device is set
    return {
        _DTYPE: str(torch.get_default_dtype()).removeprefix("torch."),
        _DEVICE: None if device is None else str(device),
        "threads": torch.get_num_threads(),
        "gradients": torch.is_grad_enabled(),
        "precision": torch.get_float32_matmul_precision(),
        "deterministic": torch.get_deterministic_debug_mode(),
        "tf32": torch.backends.cudnn.allow_tf32,
        "benchmark": torch.backends.cudnn.benchmark,
        "flushed": bool(torch.tensor(1e-40, dtype=torch.float32, device="cpu") * 1 == 0),
    }


def _refuse_defaults(doing: str, before: dict[str, Any]) -> None:
    """Refuse a changed default number type or device, with which later cells would silently be computed.

    Raises:
        UserError: The number type or the device is changed.
    """
    after = _torch_settings()
    for name in (_DTYPE, _DEVICE):
        if after[name] != before[name]:
            raise UserError(
                f"{doing} sets torch's default {name} to {after[name]}, which all cells of a sweep share; give dtype= "
                f"and device= where a tensor is made, or convert the network"
            )


def _restore_torch(before: dict[str, Any], alone: bool) -> None:
    """Restore torch's settings that have changed."""
    after = _torch_settings()
    changed = {name for name, value in before.items() if value is not None and after[name] != value}
    if "torch" not in sys.modules:
        return
    import torch

    setters: dict[str, Callable[[Any], Any]] = {
        "threads": torch.set_num_threads,
        "gradients": torch.set_grad_enabled,
        "precision": torch.set_float32_matmul_precision,
        "deterministic": torch.set_deterministic_debug_mode,
        "tf32": lambda value: setattr(torch.backends.cudnn, "allow_tf32", value),
        "benchmark": lambda value: setattr(torch.backends.cudnn, "benchmark", value),
        "flushed": torch.set_flush_denormal,
    }
    for name in changed & setters.keys():
        setters[name](before[name])
    if not alone:
        if _DTYPE in changed:
            torch.set_default_dtype(getattr(torch, before[_DTYPE]))
        if after[_DEVICE] != before[_DEVICE]:
            torch.set_default_device(before[_DEVICE])
