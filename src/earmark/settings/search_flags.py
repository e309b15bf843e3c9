"""The settings that ``earmark search`` adds to the settings of training."""

from __future__ import annotations

from dataclasses import dataclass

from earmark.settings.flags import COUNT, Scope, Settings, flag


@dataclass
class SearchOptions(Settings, page="search"):
    """The flags that ``earmark search`` adds to the flags of ``earmark train``."""

    search_space: list[str] = flag(
        [],
        "Settings to search, separated by commas: NAME=LOW:HIGH, NAME=LOW:HIGH:log or NAME=A|B|C, each NAME a flag of "
        "earmark train (required).",
    )
    trials: int = flag(20, "Number of runs, including those of earlier calls.", check=COUNT, scope=Scope.ONCE)
    prune: bool = flag(True, "End a trial that is worse than the median of the other trials at the same point.")
