"""What a live view does when it is opened and closed, whatever it shows."""

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress import Progress, ProgressColumn, TaskID


class LiveTable(ABC):
    """A table that is drawn afresh several times a second, in a terminal; nothing elsewhere.

    Args:
        console: Where to.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Live | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.update(self._table(), refresh=True)
            self._live.stop()

    def __rich__(self) -> RenderableType:
        """What `Live` draws, afresh each time."""
        return self._table()

    def _open(self) -> None:
        """Begin to draw, if this is a terminal."""
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            self._live = Live(self, console=self._console, refresh_per_second=4)
            self._live.start()

    @abstractmethod
    def _table(self) -> RenderableType:
        """What there is to see now."""


class ProgressView:
    """A progress bar in a terminal; nothing elsewhere.

    Args:
        console: Where to.
        columns: Of the bar.
        transient: Whether it vanishes at the end.
    """

    def __init__(
        self, console: Console, *columns: ProgressColumn | str, transient: bool = False
    ) -> None:
        self._console = console
        self._task: TaskID | None = None
        self._progress = Progress(
            *columns,
            console=console,
            transient=transient,
            disable=not console.is_terminal or console.is_dumb_terminal,
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()
