"""``earmark push``."""

from __future__ import annotations

from earmark.cli.command import Command, HelpPage
from earmark.settings.export_flags import PushOptions


def _push(options: PushOptions) -> None:
    from earmark.runs.push import push

    print(push(options).url)


_PAGE = HelpPage(
    summary="upload a trained model to the hub, with its card",
    usage="""
earmark push RUN ORG/NAME [flags]
RUN is a run folder; ORG/NAME is the repository on the hub, NAME alone is a repository of your own""",
    notes="""
Uploads weights, configuration, feature extractor, model card and metrics in one commit; settings, predictions and
logs stay on this machine. HF_ENDPOINT names a mirror.

Then, on any machine:
  earmark predict ORG/NAME recordings""",
    examples="earmark push runs/birds my-team/birds --private",
)
COMMAND = Command(
    "push", _push, (PushOptions,), _PAGE, words=("model_name_or_path", "repo"), needs_files=False, needs_training=True
)
