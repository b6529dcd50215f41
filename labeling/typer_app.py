"""The Typer application behind the `labelstill` command; of all verbs only the one that is asked for is imported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module, metadata
from typing import Annotated, Any

import typer

_PLAINER = {
    "Input should be a valid number, unable to parse string as a number": "expected a number",
    "Input should be a valid integer, unable to parse string as an integer": "expected a whole number",
    "Value error, ": "",
}


def application(verbs: Mapping[str, tuple[str, str]], asked: str) -> typer.Typer:
    """Return the command line.

    Args:
        verbs: verb -> ("module:function", its line in the help).
        asked: the verb that will run; the others only have their line in the help.
    """
    settings = {"help_option_names": ["-h", "--help"]}
    app = typer.Typer(add_completion=False, rich_markup_mode=None, context_settings=settings)
    app.callback(help="Type what you are looking for, get labels that people only have to correct.")(_global_options)
    for name, (target, summary) in verbs.items():
        if name == asked:
            module, function = target.split(":")
            app.command(name)(getattr(import_module(module), function))
        else:
            app.command(name, help=summary)(_not_asked_for)
    return app


def invoke(app: typer.Typer, arguments: Sequence[str], name: str) -> Any:
    """Parse the arguments, run the app and return what its command returned; errors are raised, not printed."""
    try:
        return typer.main.get_command(app).main(args=list(arguments), prog_name=name, standalone_mode=False)
    except typer.Abort as error:  # what Typer makes of Ctrl-C
        raise KeyboardInterrupt from error


def usage_sentence(error: Any, arguments: Sequence[str]) -> str:
    """Return what is wrong with a command line, what came, and where its flags are listed, in one line.

    Args:
        error: a usage error of Typer.
        arguments: as they were typed.
    """
    said = " ".join(error.format_message().split()).rstrip(".")
    for theirs, ours in _PLAINER.items():
        said = said.replace(theirs, ours)
    for flag in getattr(getattr(error, "param", None), "opts", ()):
        if "expected" in said and flag in arguments[:-1]:
            said += f", got {arguments[arguments.index(flag) + 1]!r}"
    context = getattr(error, "ctx", None)
    return f"{said} (see {context.command_path} --help)" if context is not None else said


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
