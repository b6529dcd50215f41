"""The `labelstill` command: one table of verbs, each imported when it runs, and one way to end.

Exit codes: 0 ok, 1 could not finish (usage errors too), 2 finished with quarantined files, 3 a gate failed,
130 interrupted, 143 terminated.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from types import FrameType

# Whatever takes longer to import is imported once Ctrl-C ends this program in good order.
from .core.errors import LabelstillError
from .tables import printable

#: Verb -> where its function lives, and its line in `labelstill --help`.
VERBS: dict[str, tuple[str, str]] = {
    "init": ("labeling.commands.init:run", "Start a project folder with a commented project.yaml."),
    "label": ("labeling.commands.label:run", "Label photos from text prompts; continues a stopped run."),
    "status": ("labeling.commands.status:run", "What the project holds: images per state, objects per class."),
    "report": ("labeling.commands.report:run", "Write one HTML file with pictures, counts and doubts."),
    "teachers": ("labeling.commands.teachers:run", "Every model that can label here: licence, needs, ready or not."),
    "calibrate": ("labeling.commands.calibrate:run", "Tune prompts and thresholds on a few reviewed photos."),
    "feasibility": ("labeling.commands.feasibility:run", "Is a prompt enough? A verdict per class, with costs."),
    "accept": ("labeling.commands.accept:run", "Which labels may skip review, with a guarantee; audited on."),
    "studio": ("labeling.commands.studio:run", "Start, stop or look at a Label Studio for this project."),
    "push": ("labeling.commands.push:run", "Send labels to Label Studio for people to correct, once."),
    "pull": ("labeling.commands.pull:run", "Bring back what people corrected, and nothing else."),
    "audit": ("labeling.commands.audit:run", "How right the teacher was, and how people worked."),
    "curate": ("distill.commands.curate:run", "Find label errors, repeats and gaps, in FiftyOne or a report."),
    "next": ("distill.commands.next:run", "Which images to label next: in doubt, and unlike the rest."),
    "split": ("distill.commands.split:run", "Cut the images into train, val and test without a leak."),
    "train": ("distill.commands.train:run", "Train a small student on the labels of the project."),
    "evaluate": ("distill.commands.evaluate:run", "Measure a student beside teacher, people and baseline."),
    "distill": ("distill.commands.distill:run", "From labels to a measured student: split, train, evaluate."),
    "export": ("export.commands.export:run", "Turn a student into a folder that runs on a Jetson, with proof."),
    "bench": ("export.commands.bench:run", "How fast an exported student is on this machine, and how right."),
    "budget": ("export.commands.budget:run", "Predict frames per second on a Jetson before training."),
    "monitor": ("export.commands.monitor:run", "Say from the logs of a device whether its world has changed."),
    "agreement": ("labeling.commands.agreement:run", "How far people agree who labelled the same photos."),
    "convert": ("labeling.commands.convert:run", "Labels to and from COCO, YOLO, VOC, Label Studio and more."),
    "assist": ("labeling.commands.assist:run", "Serve the teacher to Label Studio, for labels on demand."),
    "doctor": ("labeling.commands.doctor:run", "Check this machine; say what to type where a part is missing."),
    "demo": ("labeling.commands.demo:run", "Render demo photos and label them offline, end to end."),
}

INTERRUPTED = 128 + signal.SIGINT
TERMINATED = 128 + signal.SIGTERM
_STOPPED = "stopped: the same command continues from what was written"


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
    except KeyboardInterrupt as stop:
        return _leave(INTERRUPTED, arguments, stop)
    except SystemExit as leaving:
        return _leave(leaving.code if isinstance(leaving.code, int) else 1, arguments, leaving)
    except BrokenPipeError:
        # The reader of our output has left; what is still buffered must not raise again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if os.environ.get("LABELSTILL_DEBUG"):
            import traceback

            traceback.print_exc()
        return _fail(_sentence(error, arguments), arguments)
    if code in (INTERRUPTED, TERMINATED):  # Typer's answer to Ctrl-C
        return _leave(code, arguments)
    return code


def _run_verb(arguments: Sequence[str]) -> int:
    with _leaving_at_once(arguments):
        from .typer_app import application, invoke

        app = application(VERBS, arguments[0] if arguments else "")
    result = invoke(app, arguments or ["--help"], "labelstill")
    return result if isinstance(result, int) else 0


@contextlib.contextmanager
def _leaving_at_once(arguments: Sequence[str]) -> Iterator[None]:
    """Let Ctrl-C end the process while libraries are imported: nothing is open yet, and an exception could get lost."""

    def leave(_signal: int, _frame: FrameType | None) -> None:
        with contextlib.suppress(OSError):
            os.write(2, f"\n{_STOPPED}\n".encode())
            if "--json" in arguments:
                os.write(1, f'{{"error": "{_STOPPED}"}}\n'.encode())
        os._exit(INTERRUPTED)

    before = signal.signal(signal.SIGINT, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


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


def _leave(code: int, arguments: Sequence[str], stop: BaseException | None = None) -> int:
    """End a verb that was cut off before it could say anything; its own word on how to go on is a note of the stop."""
    if code in (INTERRUPTED, TERMINATED):
        said = printable("; ".join(getattr(stop, "__notes__", ())) or _STOPPED)
        sys.stderr.write(f"{said}\n")
        _answer_in_json(said, arguments)
    return code


def _sentence(error: Exception, arguments: Sequence[str]) -> str:
    if isinstance(error, LabelstillError):
        return str(error)
    # Typer's own errors know how to say what is wrong with the command line, whichever click they are built on.
    if hasattr(error, "format_message"):
        from .typer_app import usage_sentence

        return usage_sentence(error, arguments)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return f"unexpected {type(error).__name__}: {error} (a defect; LABELSTILL_DEBUG=1 shows where)"


def _fail(sentence: str, arguments: Sequence[str]) -> int:
    lines = [" ".join(line.split()) for line in sentence.splitlines() if line.strip()] or ["failed without a reason"]
    for line in lines:
        sys.stderr.write(f"error: {printable(line)}\n")  # a path may hold what a terminal would obey
    _answer_in_json("; ".join(lines), arguments)
    return 1


def _answer_in_json(error: str, arguments: Sequence[str]) -> None:
    if "--json" in arguments:
        import json

        try:
            sys.stdout.write(json.dumps({"error": error}) + "\n")
            sys.stdout.flush()
        except OSError:  # nobody can be told there; what is still buffered must not raise again at exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
