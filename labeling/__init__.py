"""Prompts and photos in, labels out: into labels.db by `labelstill label`, into your own code by `labeling.label`."""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = ["LabelResult", "label"]

if TYPE_CHECKING:
    from .api import label
    from .label_result import LabelResult
else:

    def __getattr__(name: str) -> object:
        """Import the API when it is first used, so that `import labeling` and the command stay instant."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from . import api, label_result

        return getattr(api if name == "label" else label_result, name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
