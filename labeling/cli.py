"""The `labelstill` command: one table of verbs, each imported when it runs, and one way to end.

Exit codes: 0 ok, 1 could not finish (usage errors too), 2 finished with quarantined files, 3 a gate failed,
130 interrupted, 143 terminated.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module, metadata
from types import FrameType
from typing import Annotated, Any

import typer

from .core.errors import LabelstillError

#: Verb -> where its function lives, and its line in `labelstill --help`.
VERBS: dict[str, tuple[str, str]] = {
    "init": ("labeling.commands.init:run", "Start a project folder with a commented project.yaml."),
    "label": ("labeling.commands.label:run", "Label photos from text prompts; continues a stopped run."),
    "status": ("labeling.commands.status:run", "Show what the project holds: images per state, objects per class."),
    "report": ("labeling.commands.report:run", "Write one HTML file with pictures, counts and doubts."),
    "convert": ("labeling.commands.convert:run", "Write the labels as COCO or YOLO."),
    "doctor": ("labeling.commands.doctor:run", "Check this machine; says what to type where a part is missing."),
    "demo": ("labeling.commands.demo:run", "Render demo photos and label them offline, end to end."),
}

INTERRUPTED = 128 + signal.SIGINT
TERMINATED = 128 + signal.SIGTERM
_STOPPED = "stopped: the same command continues where this one ended"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit code; a failure is a line on stderr, never a traceback."""
    # Read when torch is imported: threads that spin while they wait starve decoding and writing beside them.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    return guarded(_run_verb, sys.argv[1:] if arguments is None else arguments)


def guarded(function: Callable[[Sequence[str]], int], arguments: Sequence[str]) -> int:
    """Run a command and turn whatever happens into an exit code and a line on stderr for each problem.

    With ``--json`` among the arguments a failure is also ``{"error": …}`` on stdout. LABELSTILL_DEBUG=1 adds the
    traceback.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name that the terminal cannot show must not end a run
    try:
        with _terminable():
            code = function(arguments)
            sys.stdout.flush()
    except (KeyboardInterrupt, typer.Abort):
        return _leave(INTERRUPTED, arguments)
    except SystemExit as leaving:
        return _leave(leaving.code if isinstance(leaving.code, int) else 1, arguments)
    except BrokenPipeError:
        # The reader of our output has left; what is still buffered must not raise again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if os.environ.get("LABELSTILL_DEBUG"):
            traceback.print_exc()
        return _fail(_sentence(error), arguments)
    if code in (INTERRUPTED, TERMINATED):
        typer.echo(_STOPPED, err=True)
    return code


def invoke(app: typer.Typer, arguments: Sequence[str], name: str) -> Any:
    """Parse the arguments, run the Typer app and return what its command returned; errors are raised, not printed."""
    return typer.main.get_command(app).main(args=list(arguments), prog_name=name, standalone_mode=False)


def _run_verb(arguments: Sequence[str]) -> int:
    result = invoke(_application(arguments[0] if arguments else ""), arguments or ["--help"], "labelstill")
    return result if isinstance(result, int) else 0


def _application(asked: str) -> typer.Typer:
    """Return the command line; of all verbs only the one that is asked for is imported."""
    settings = {"help_option_names": ["-h", "--help"]}
    app = typer.Typer(add_completion=False, rich_markup_mode=None, context_settings=settings)
    app.callback(help="Type what you are looking for, get labels that people only have to correct.")(_global_options)
    for name, (target, summary) in VERBS.items():
        if name == asked:
            module, function = target.split(":")
            app.command(name)(getattr(import_module(module), function))
        else:
            app.command(name, help=summary)(_not_asked_for)
    return app


def _not_asked_for() -> None:
    raise AssertionError("only the verb that is asked for can run")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"labelstill {metadata.version('labelstill')}")
        raise typer.Exit


def _global_options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    del version


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM unwind like an exception, so that files and locks are released."""

    def leave(_signal: int, _frame: FrameType | None) -> None:
        raise SystemExit(TERMINATED)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _leave(code: int, arguments: Sequence[str]) -> int:
    """End a verb that was cut off before it could say anything."""
    if code in (INTERRUPTED, TERMINATED):
        typer.echo(_STOPPED, err=True)
        _answer_in_json(_STOPPED, arguments)
    return code


def _sentence(error: Exception) -> str:
    if isinstance(error, LabelstillError):
        return str(error)
    # Typer's own errors know how to say what is wrong with the command line, whichever click they are built on.
    usage = getattr(error, "format_message", None)
    if usage is not None:
        return str(usage())
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return f"unexpected {type(error).__name__}: {error} (a defect; LABELSTILL_DEBUG=1 shows where)"


def _fail(sentence: str, arguments: Sequence[str]) -> int:
    lines = [" ".join(line.split()) for line in sentence.splitlines() if line.strip()] or ["failed without a reason"]
    for line in lines:
        typer.echo(f"error: {line}", err=True)
    _answer_in_json("; ".join(lines), arguments)
    return 1


def _answer_in_json(error: str, arguments: Sequence[str]) -> None:
    if "--json" in arguments:
        try:
            typer.echo(json.dumps({"error": error}))
        except OSError:  # nobody can be told there; what is still buffered must not raise again at exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
