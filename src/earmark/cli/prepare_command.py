"""``earmark prepare``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from earmark.cli.command import Command, HelpPage
from earmark.settings.flags import Settings, flag


@dataclass
class PrepareOptions(Settings):
    """Settings of ``earmark prepare``: a public data set, its location, and the folder for its manifests."""

    REQUIRED = ("name", "source", "output")
    MISSING = (
        "a data set, its source or the folder for manifests is missing. "
        "Use earmark prepare NAME FOLDER_OR_ARCHIVE --output DIR."
    )

    name: str | None = flag(None, "Name of the data set.")
    source: str | None = flag(None, "Folder or archive of the data set.")
    output: str | None = flag(
        None,
        "Folder for all.csv, or train.csv, validation.csv and test.csv; and left_out.csv (required).",
        metavar="DIR",
    )
    on_missing: Literal["fail", "skip"] = flag(
        "fail", "Missing files that the data set's tables name: fail stops, skip leaves them out and lists them."
    )
    overwrite: bool = flag(False, "Replace existing manifests.")


def _prepare(options: PrepareOptions) -> None:
    from earmark.sources.corpora.prepare_corpus import prepare

    name, source, output = str(options.name), str(options.source), str(options.output)
    skip = options.on_missing == "skip"
    prepared = prepare(name, source, output, skip_missing=skip, overwrite=options.overwrite)
    print("\n".join(prepared.lines))


def _text() -> str:
    from earmark.sources.corpora.prepare_corpus import CORPORA

    lines = [
        "Reads the data set's own tables and file names, checks that every file exists, and writes CSV manifests",
        "(path, label, and the folds, speakers or sources) for earmark train. No recording is changed, copied or",
        "downloaded; an archive (.zip, .tar.gz) is extracted once, into $EARMARK_CACHE or ~/.cache/earmark.",
        "",
        "data sets",
    ]
    for name, corpus in CORPORA.items():
        clips = f"{corpus.published.clips:,} clips, " if corpus.published.clips else ""
        lines += [
            f"  {name:<16}{clips}{corpus.published.classes} classes; {corpus.published.archive}",
            f"  {'':<16}has {corpus.layout}",
            f"  {'':<16}train with {corpus.flags or 'its own splits'}",
            f"  {'':<16}{corpus.published.source}",
        ]
    return "\n".join(lines)


_PAGE = HelpPage(
    summary="write manifests of ESC-50, UrbanSound8K, GTZAN, RAVDESS or CommonLanguage",
    usage="earmark prepare NAME FOLDER_OR_ARCHIVE --output DIR [flags]",
    text=_text,
    examples="""
earmark prepare esc50 ESC-50-master.zip --output manifests/esc50
earmark train --train_file manifests/esc50/all.csv --fold_column fold --group_column src_file \\
    --model_type tc_resnet --output_dir runs/esc50""",
)
COMMAND = Command("prepare", _prepare, (PrepareOptions,), _PAGE, words=("name", "source"), needs_files=False)
