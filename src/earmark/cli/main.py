"""``earmark COMMAND ...``: find the command, set up logging, turn errors into one line and an exit code.

Imports nothing heavy: a command's module is imported when the user calls the command, and torch when the command needs
it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import platform
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Sequence

from earmark import npu
from earmark.distributed.launched import is_main_process, launched_rank
from earmark.errors import DeviceError, EarmarkError, OutputError, Stopped, UsageError
from earmark.extras import require_training
from earmark.text import suggestion
from earmark.threads import variables

_HELP_TAIL = """\
  --version       versions of earmark and its dependencies
  --debug         with any command: the whole traceback of an error (also EARMARK_DEBUG=1)

examples
  earmark quickstart
  earmark train --data_dir recordings --model_type tc_resnet --output_dir runs/first
  earmark predict runs/first new_recordings --output labels.csv

exit codes: 0 done, 2 an error that you can fix (one line says how), 1 a defect of earmark, 130 interrupted,
75 training was stopped by SIGTERM or SIGINT and saved: continue with --resume"""

_RANK_0_SPEAKS_WITHIN_S = 10.0

# Warnings of torch about settings that are intended, or that earmark reports itself.
_NOT_SHOWN = (
    "This DataLoader will create",  # earmark warns before training
    ".*find_unused_parameters=True was specified",  # LayerDrop needs it, although a step may drop no layer
    "Grad strides do not match bucket view strides",
    "'pin_memory' argument is set as true but",
)

# Values of ``--debug`` of Transformers' trainer, which are passed on.
_TRAINER_DEBUG = {"underflow_overflow", "tpu_metrics_debug"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: words after the program's name; ``None`` for the process's own.

    Returns:
        The exit code: 0 done, 2 for a user's mistake, 1 for a defect, 75 for a run that was stopped and saved, 130
        after an interrupt.
    """
    words, debug = _take_debug(sys.argv[1:] if argv is None else argv)
    return guarded(lambda: _dispatch(words), debug, computes=_computes(words))


def run_example(argv: Sequence[str] | None = None) -> int:
    """Run a command line of Transformers' ``run_audio_classification.py``; otherwise like :func:`main`."""
    words, debug = _take_debug(sys.argv[1:] if argv is None else argv)

    def run() -> None:
        from earmark.cli import train_command
        from earmark.cli.pages import help_page

        if _asks_for_help(words):
            print(help_page(train_command.COMMAND, everything="--help_all" in words))
        else:
            require_training("run_audio_classification.py")
            train_command.run_example(words)

    return guarded(run, debug)


def guarded(run: Callable[[], None], debug: bool, *, computes: bool = True) -> int:
    """Call ``run`` with logging set up; report what it raises and return the exit code.

    Args:
        run: the command.
        debug: whether to show tracebacks.
        computes: whether a wrong ``EARMARK_THREADS`` stops the command. ``earmark doctor`` reports it instead.
    """
    set_up_logging()
    try:
        npu.prepare()
        with contextlib.nullcontext() if computes else contextlib.suppress(UsageError):
            variables.prepare()
        run()
        _leave_the_other_ranks()
        _flush_output()
    except EarmarkError as exc:
        if exc.of_all_ranks:
            _leave_the_other_ranks()
        if debug:
            traceback.print_exc()
        tell_launcher(str(exc), exc.exit_code)
        # All ranks of a launcher read the same command line, so only one has to report its errors.
        if isinstance(exc, Stopped):  # all ranks stop together, and one reports it
            if is_main_process():
                _say(f"earmark: {exc}")
            return exc.exit_code
        if not is_main_process() and (isinstance(exc, UsageError) or exc.of_all_ranks):
            time.sleep(
                _RANK_0_SPEAKS_WITHIN_S
            )  # if rank 0 reports the same error, the launcher ends this rank meanwhile
        _say(f"earmark: {_of_rank()}error: {exc}")
        return exc.exit_code
    except KeyboardInterrupt:
        _say("earmark: interrupted")
        return 130
    except BrokenPipeError:
        # The reader of the output has ended (`| head`). Otherwise Python would report the broken pipe again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as exc:  # the outermost boundary: nothing above can report it
        # A failed `print` to a terminal or device discards its text, so only another write shows that printing failed.
        failed_write = isinstance(exc, OSError) and exc.filename is None
        if failed_write and (fault := _output_fault("\n")) is not None:
            _say(f"earmark: error: {fault}")
            return OutputError.exit_code
        failed_load = npu.explain_failed_load(exc)
        if failed_load is not None and not debug:
            _say(f"earmark: error: {failed_load}")
            return DeviceError.exit_code
        _say(traceback.format_exc() + "earmark: this is a defect of earmark, please report it with the lines above")
        return 1
    return 0


def _flush_output() -> None:
    """Write what was printed.

    Raises:
        OutputError: standard output cannot be written, for example because the disk is full.
    """
    fault = _output_fault()
    if fault is not None:
        raise fault


def _output_fault(probe: str = "") -> OutputError | None:
    """Write ``probe`` and return why standard output cannot be written; ``None`` if it can."""
    try:
        sys.stdout.write(probe)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as exc:
        return OutputError(f"standard output: cannot be written ({exc.strerror or exc})")
    return None


def _leave_the_other_ranks() -> None:
    """Destroy the process group, if all ranks end together.

    Threads of gloo that still run when the interpreter ends sometimes abort the process, which changes its exit code.
    If only this rank fails, the group is not destroyed, because destroying it would wait for ranks that wait for this
    one.
    """
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        with contextlib.suppress(RuntimeError):  # an error here changes nothing: the work is done or has failed
            distributed.destroy_process_group()


def _say(line: str) -> None:
    """Print a last line, unless the stream is closed: the same Ctrl-C may have ended `| tee log`."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is sys.stderr:
                print(line, file=stream)
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def tell_launcher(message: str, exit_code: int) -> None:
    """Write the error of this rank to the file from which torch's launcher reports it."""
    path = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if not path:
        return
    shown = {"py_callstack": f"earmark: {_of_rank()}error: {message}", "timestamp": str(int(time.time()))}
    report = {"message": {"message": message, "errorCode": exit_code, "extraInfo": shown}}
    with contextlib.suppress(OSError), open(path, "w", encoding="utf-8", newline="") as file:
        json.dump(report, file)


def _of_rank() -> str:
    return "" if is_main_process() else f"rank {launched_rank()}: "


def set_up_logging() -> None:
    """Show log lines of this project (rank 0: all, other ranks: errors) and warnings of libraries on stderr."""
    speaks = is_main_process()
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("earmark")
    logger.handlers = [handler]
    logger.setLevel(logging.INFO if speaks else logging.ERROR)
    logger.propagate = False
    for message in _NOT_SHOWN:
        warnings.filterwarnings("ignore", message=message, category=UserWarning)
    # The libraries read these variables when they are imported. Variables that the user has set stay unchanged.
    for name in ("TRANSFORMERS_VERBOSITY", "DATASETS_VERBOSITY", "HF_HUB_VERBOSITY"):
        os.environ.setdefault(name, "warning" if speaks else "error")


def top_help() -> str:
    """Return the page of ``earmark --help``."""
    from earmark.cli.command_table import COMMANDS

    lines = [f"earmark {_version()}: labelled recordings in, an audio classifier out", ""]
    lines += [
        "usage: earmark COMMAND ...        help on a command: earmark COMMAND --help",
        "",
        "commands",
    ]
    lines += [f"  {name:<15}  {command.page.summary}" for name, command in COMMANDS.items()]
    return "\n".join([*lines, "", _HELP_TAIL])


def version_line() -> str:
    """Return the versions that a bug report needs."""
    from importlib import metadata  # imported here, because it takes as long as reading all settings

    parts = [f"earmark {_version()}", f"Python {platform.python_version()}"]
    for package in ("numpy", "onnxruntime", "soundfile", "soxr", "torch", "torch_npu", "transformers", "accelerate"):
        try:
            parts.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    return ", ".join(parts)


def _dispatch(words: Sequence[str]) -> None:
    name, *rest = words or ["--help"]
    if name in ("-h", "--help", "help"):
        print(top_help())
        return
    if name in ("-V", "--version", "version"):
        print(version_line())
        return
    from earmark.cli.command import find_model_folder
    from earmark.cli.command_table import COMMANDS
    from earmark.cli.pages import help_page
    from earmark.cli.train_command import show

    if name not in COMMANDS:
        near = suggestion(name, COMMANDS)
        raise UsageError(f"unknown command {name}{near or ': expected ' + ', '.join(COMMANDS)}")
    command = COMMANDS[name]
    if _asks_for_help(rest):
        print(help_page(command, everything="--help_all" in rest))
        return
    if command.needs_training:
        require_training(f"earmark {name}")
    settings, notes = command.read(rest)
    find_model_folder(settings)
    show(notes)
    command.does(settings)


def _computes(words: Sequence[str]) -> bool:
    return bool(words) and not words[0].startswith("-") and words[0] != "doctor" and not _asks_for_help(words[1:])


def _asks_for_help(words: Sequence[str]) -> bool:
    flags = words[: words.index("--")] if "--" in words else words
    return bool({"-h", "--help", "--help_all"} & set(flags))


def _take_debug(words: Sequence[str]) -> tuple[list[str], bool]:
    """Remove a bare ``--debug``; ``--debug underflow_overflow`` is for Transformers' trainer."""
    kept: list[str] = []
    debug = os.environ.get("EARMARK_DEBUG", "0") not in ("", "0")
    for word, following in zip(words, [*words[1:], ""], strict=False):
        if word == "--debug" and following not in _TRAINER_DEBUG:
            debug = True
        else:
            kept.append(word)
    return kept, debug


def _version() -> str:
    from earmark import __version__

    return __version__


if __name__ == "__main__":
    sys.exit(main())
