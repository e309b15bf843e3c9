"""What a trained model can do because it lies in a folder or on the hub: be exported, uploaded and loaded again."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from earmark.errors import UsageError
from earmark.models.model_source import ModelSource
from earmark.settings.export_flags import ExportOptions, PushOptions

if TYPE_CHECKING:
    from earmark.export.export_model import ExportOutcome


class SavedModel:
    """A model that knows where it was loaded from; ``_source`` is ``None`` for one that was made in memory."""

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
            output: folder of the export, new or empty. :meth:`from_pretrained` loads it.
            format: ``onnx``, ``onnx-int8`` (weights of matrix products in 8 bits) or ``pt2`` (torch.export).
            calibration: folder of recordings for the comparison; ``None`` for generated sound.
            max_calibration_samples: most recordings to take of them.
            fixed_shape: batch size and seconds of the only shape that the export takes, as Ascend's ATC needs it.

        Raises:
            UsageError: a wrong value.
            ModelError: the model cannot be exported, or the export gives other probabilities.
            OutputError: the folder is not empty or cannot be written.
            MissingExtraError: the packages of the format are not installed.
        """
        from earmark.export.export_model import export

        shape = fixed_shape if isinstance(fixed_shape, str) or fixed_shape is None else "{}x{}".format(*fixed_shape)
        options = ExportOptions(
            **self.loading(),
            output=os.fspath(output),
            format=format,  # type: ignore[arg-type]  # checked there
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
            repo: name on the hub: ``org/name``, or ``name`` in your own account.
            private: whether a new repository is private.
            revision: branch to commit to; ``None`` for ``main``.
            message: of the commit.
            token: access token that may write; ``None`` for ``HF_TOKEN`` or that of ``hf auth login``.

        Returns:
            The address of the commit.

        Raises:
            ModelError: the model was not loaded from a run folder.
            UsageError: no token, or one that may not write there.
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
