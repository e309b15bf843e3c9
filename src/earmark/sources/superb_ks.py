"""SUPERB's keyword-spotting task, built from the Speech Commands archive."""

from __future__ import annotations

from earmark.clips.clip import Splits
from earmark.errors import DataError, UsageError
from earmark.sources.saved_dataset import is_table_folder
from earmark.sources.source import GivenData, Source

_HOW_TO_GET = (
    "superb ks is built from the Speech Commands archive. Download speech_commands_v0.01.tar.gz (and, for the test "
    "split, speech_commands_test_set_v0.01.tar.gz) into a folder, extracted or not, and add --data_dir FOLDER."
)


def is_superb_ks(name: str | None, config: str | None) -> bool:
    """Return whether a data set is this task, which is read from the first folder of ``--data_dir``."""
    return name is not None and name.split("/")[-1].casefold() == "superb" and config == "ks"


class SuperbKeywords(Source):
    """``--dataset_name superb --dataset_config_name ks``, unless its folder holds the finished tables."""

    name = "SUPERB keyword spotting"
    because = "--dataset_name and --dataset_config_name select it"
    settings = ("dataset_config_name", "silence_percentage")

    def recognises(self, given: GivenData) -> bool:
        """Return whether the data set is SUPERB's."""
        is_meant = is_superb_ks(given.dataset, given.request.config)
        return is_meant and not (given.folder is not None and is_table_folder(given.folder))

    def load(self, given: GivenData) -> Splits:
        """Return SUPERB's splits.

        Raises:
            DataError: no archive was given, or it is damaged.
            UsageError: the task is not single-label classification.
        """
        if given.folder is None:
            raise DataError(_HOW_TO_GET)
        task = given.request.columns.task
        if not task.has_one_class:
            raise UsageError(f"--task {task.name}: superb ks has one label per clip. Remove --task")
        from earmark.sources.speech_commands import load_superb_ks

        return load_superb_ks(
            str(given.folder), silence_percentage=given.request.silence_percentage, seed=given.request.seed
        )
