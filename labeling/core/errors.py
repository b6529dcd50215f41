"""The exception tree: one class for each thing that a caller can do about a failure.

    LabelstillError
    ├── InputError          the user changes what was given (files, prompts, flags, configuration)
    ├── MissingExtraError   the user installs an extra
    ├── BackendError        a model could not be loaded or did not answer as promised
    ├── ServerError         a server did not answer, or refused
    └── StateError          what lies on disk does not allow this step

Every message says what was expected, what came, which file or key, and what to do, in one line.
"""


class LabelstillError(Exception):
    """Base of every error that the command line shows as one line without a traceback."""


class InputError(LabelstillError):
    """What the user gave cannot be used."""


class MissingExtraError(LabelstillError):
    """A library of an optional extra is not installed."""

    def __init__(self, library: str, extra: str) -> None:
        super().__init__(
            f"{library} is not installed; it comes with the extra '{extra}': "
            f'pip install -c constraints.txt -e ".[{extra}]"'
        )
        self.library = library
        self.extra = extra


class BackendError(LabelstillError):
    """A detector, segmenter or student could not be loaded or broke its contract."""


class ServerError(LabelstillError):
    """A server did not answer, or answered with a refusal."""


class StateError(LabelstillError):
    """The project on disk does not allow this step."""
