"""Renaming between the model's frames and the trace's.

The model's allocator hands out other frame numbers than the kernel's, so a frame is identified when the trace
inserts it: from then on the two numbers stand for each other, until the model frees the frame.
"""

from __future__ import annotations


class Frames:
    """A partial bijection between model pfns and trace pfns, and the file index of each."""

    __slots__ = ("_index", "_model", "_real")

    def __init__(self) -> None:
        self._real: dict[int, int] = {}
        self._model: dict[int, int] = {}
        self._index: dict[int, int] = {}

    def real(self, pfn: int) -> int:
        """The trace's number for a model frame; errnos and unknown frames are themselves."""
        return self._real.get(pfn, pfn) if pfn >= 0 else pfn

    def end(self, start: int, end: int) -> int:
        """End of a range of frames that begins at model frame `start`."""
        return self.real(start) + end - start

    def pending(self, pfn: int) -> int | None:
        """As `real`, but None (matches anything) while the frame has no number in the trace yet."""
        return self._real.get(pfn)

    def index_of(self, real: int) -> int | None:
        """File index of a trace frame that is in use by the followed file."""
        return self._index.get(real)

    def bind(self, model: int, real: int, index: int) -> str | None:
        """The trace gives `real` where the model gives `model`: None, or why that cannot be."""
        known = self._real.get(model)
        if known is not None:
            return None if known == real else f"frame {real:#x} where {known:#x} was inserted"
        other = self._model.get(real)
        if other is not None:
            return f"frame {real:#x} is handed out while index {self._index[real]:#x} still uses it"
        self._real[model] = real
        self._model[real] = model
        self._index[real] = index
        return None

    def release(self, model: int) -> None:
        """The model freed the frame."""
        real = self._real.pop(model, None)
        if real is not None:
            del self._model[real]
            del self._index[real]
