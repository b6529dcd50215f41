"""The part of Label Studio's machine-learning protocol that an assistant needs, over HTTP on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from http.server import ThreadingHTTPServer
from threading import Thread
from types import TracebackType
from typing import Any

from ..core.errors import LabelstillError
from .assistant import Assistant, Declined
from .convert import MODEL_VERSION
from .ml_http import Handler, Problem

_PATIENCE_S = 80.0
"""Label Studio waits 100 s for an answer."""

_MOST_DRAWN = 100


class MlBackend(ThreadingHTTPServer):
    """Serves one assistant at ``http://127.0.0.1:PORT`` while its block runs.

    ``/health``, ``/setup``, ``/predict`` and ``/webhook`` answer as Label Studio expects; training is not offered.
    All questions go to one thread, one task after the other in the order in which they come, so that somebody who
    draws waits for one picture at most and not for a hundred that others have asked for.

    Args:
        assistant: answers; nobody else uses it, nor what it uses, while the block runs.
        port: 0 takes any that is free.
        tell: is told one line about every task that could not be answered, in any thread.
        clock: seconds that only grow.

    Raises:
        OSError: the port is taken.
    """

    daemon_threads = True

    def __init__(
        self,
        assistant: Assistant,
        port: int = 0,
        *,
        tell: Callable[[str], None] = lambda line: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self._assistant = assistant
        self._tell = tell
        self._clock = clock
        self._worker = ThreadPoolExecutor(1, "teacher")
        self._server = Thread(target=self.serve_forever, args=(0.1,), daemon=True)

    def __enter__(self) -> MlBackend:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End once the task at hand is answered; those that wait are refused."""
        self.shutdown()
        self._worker.shutdown(cancel_futures=True)
        self.server_close()

    @property
    def url(self) -> str:
        """Address to name in Label Studio."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def wait(self) -> None:
        """Return when somebody shuts the server down; a signal of the main thread gets through."""
        self._server.join()

    def respond(self, path: str, asked: Any) -> dict[str, Any]:
        """Return what Label Studio expects of a POST. Raises Problem."""
        if path == "/setup":
            return {"model_version": MODEL_VERSION}
        if path in ("/webhook", "/train"):
            return {"status": "this backend does not train"}
        if path == "/predict":
            return self._predict(asked)
        raise Problem(404, "not found")

    def _predict(self, asked: Any) -> dict[str, Any]:
        tasks, context = _tasks(asked), _at(_at(asked, "params"), "context")
        began = self._clock()
        if context is not None:
            return {"results": [self._answer(tasks[0], _drawn(tasks, context), _PATIENCE_S)]}
        results: list[Any] = []
        for place, task in enumerate(tasks):
            left_s = began + _PATIENCE_S - self._clock()
            # An empty list makes no prediction, so that Label Studio asks for this task again the next time.
            if place and left_s <= 0:
                self._tell(f"{len(tasks) - place} of {len(tasks)} tasks wait: retrieve predictions once more")
                results += [[] for _ in tasks[place:]]
                break
            try:
                results.append(self._answer(task, (), max(left_s, 1.0)))
            except Problem as problem:
                if len(tasks) == 1 and problem.status != 403:
                    raise
                results.append([])
        return {"results": results}

    def _answer(self, task: Mapping[str, Any], drawn: Sequence[Any], patience_s: float) -> dict[str, Any]:
        try:
            coming = self._worker.submit(self._assistant.answer, task["data"], drawn)
        except RuntimeError:
            raise Problem(503, "the teacher is no longer served") from None
        try:
            return coming.result(patience_s)
        except CancelledError:
            raise Problem(503, "the teacher is no longer served") from None
        except TimeoutError:
            coming.cancel()
            problem = Problem(503, "the teacher is busy with other pictures: ask again")
        except Declined as error:
            problem = Problem(403, str(error))
        except LabelstillError as error:
            problem = Problem(500, str(error))
        except Exception as error:  # one picture that does not fit into memory must not end the service
            problem = Problem(500, f"unexpected {type(error).__name__}: {error}")
        number = task.get("id")
        if drawn or problem.status != 403:  # blind tasks are opened all the time
            self._tell(f"task {number if isinstance(number, int) else '?'}: {problem.sentence}")
        raise problem


def _tasks(asked: Any) -> list[Mapping[str, Any]]:
    tasks = _at(asked, "tasks")
    if not isinstance(tasks, list) or not tasks or not all(isinstance(_at(task, "data"), Mapping) for task in tasks):
        raise Problem(400, "expected 'tasks' as a list of tasks with 'data'")
    return tasks


def _drawn(tasks: Sequence[Any], context: Any) -> list[Any]:
    drawn = _at(context, "result")
    drawn = [] if drawn is None else drawn
    if len(tasks) != 1 or not isinstance(context, Mapping) or not isinstance(drawn, list) or len(drawn) > _MOST_DRAWN:
        raise Problem(400, f"expected one task and at most {_MOST_DRAWN} regions in 'context.result'")
    return drawn


def _at(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, Mapping) else None
