"""Export, upload and reload a model that was loaded from a folder or the hub."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from earmark.errors import UsageError
from earmark.models.model_source import ModelSource
from earmark.settings.export_flags import ExportOptions, PushOptions

if TYPE_CHECKING:
    from earmark.export.export_model import ExportOutcome


class SavedModel:
    """A model that knows where it was loaded from. ``_source`` is ``None`` for a model made in memory."""

    _source: ModelSource | None = None

    def source(self) -> ModelSource:
        """Return where the model was loaded from.

        Raises:
            UsageError: the classifier was made from a model in memory.
        """
        if self._source is None:
            raise UsageError(
                "this classifier was made from a model in memory. Save it, and load it with from_pretrained."
            )
        return self._source

    def export(
        self,
        output: str | os.PathLike[str],
        *,
        format: str = "onnx",
        calibration: str | os.PathLike[str] | None = None,
        max_calibration_samples: int = 500,
        fixed_shape: tuple[int, float] | str | None = None,
    ) -> ExportOutcome:
        """Export the model and compare the export with PyTorch.

        Args:
            output: folder of the export, new or empty. Load it with :meth:`from_pretrained`.
            format: ``onnx``, ``onnx-int8`` (8-bit weights of matrix products) or ``pt2`` (torch.export).
            calibration: folder of recordings for the comparison; ``None`` for generated audio.
            max_calibration_samples: maximum number of recordings to use.
            fixed_shape: batch size and seconds of the export's only input shape, as required by Ascend's ATC.

        Raises:
            UsageError: an invalid value.
            ModelError: the model cannot be exported, or the export gives other probabilities.
            OutputError: the folder is not empty or cannot be written.
            MissingExtraError: the packages of the format are not installed.
        """
        self.source().folder()  # refuses an export, before torch is imported
        from earmark.export.export_model import export

        shape = fixed_shape if isinstance(fixed_shape, str) or fixed_shape is None else "{}x{}".format(*fixed_shape)
        options = ExportOptions(
            **self.loading(),
            output=os.fspath(output),
            format=format,  # type: ignore[arg-type]  # checked by the called function
            calibration=None if calibration is None else os.fspath(calibration),
            max_calibration_samples=max_calibration_samples,
            fixed_shape=shape,
        )
        return export(options)

    def push(
        self,
        repo: str,
        *,
        private: bool = False,
        revision: str | None = None,
        message: str = "Upload model",
        token: str | None = None,
    ) -> str:
        """Upload the run folder that the model was loaded from to the hub, with its model card.

        Args:
            repo: repository on the hub: ``org/name``, or ``name`` in your own account.
            private: whether a new repository is private.
            revision: branch to commit to; ``None`` for ``main``.
            message: commit message.
            token: access token with write permission; ``None`` for ``HF_TOKEN`` or the token of ``hf auth login``.

        Returns:
            URL of the commit.

        Raises:
            ModelError: the model was not loaded from a run folder.
            UsageError: no token, or a token without write permission.
            NetworkError: the hub cannot be reached.
        """
        from earmark.runs.push import push

        folder = str(self.source().name_or_path)
        options = PushOptions(
            model_name_or_path=folder, repo=repo, private=private, revision=revision, message=message, token=token
        )
        return push(options).url

    def loading(self) -> dict[str, Any]:
        """Return the settings that load this model again."""
        source = self.source()
        return {
            "model_name_or_path": source.name_or_path,
            "task": source.task,
            "model_revision": source.revision,
            "cache_dir": source.cache_dir,
            "token": source.token,
            "trust_remote_code": source.trust_remote_code,
            "allow_pickle": source.allow_pickle,
        }
