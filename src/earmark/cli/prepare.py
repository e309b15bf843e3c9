"""``earmark prepare``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from earmark.cli.parsing import UsageErrorParser
from earmark.errors import UsageError

_HEAD = """\
earmark prepare: manifests of a public data set, from the layout it is published in

usage: earmark prepare NAME FOLDER_OR_ARCHIVE --output DIR [flags]

reads the data set's own tables and file names, checks that every file is there, and writes CSV
manifests (path, label, and its folds, speakers or sources) for earmark train. No recording is
changed, copied or downloaded; an archive (.zip, .tar.gz) is extracted once, into $EARMARK_CACHE or
~/.cache/earmark
"""

_FLAGS = """\
flags
  --output DIR
      folder for all.csv, or train.csv, validation.csv and test.csv; and left_out.csv (required)
  --on_missing fail|skip
      files that the data set's tables name and that are not there: fail, or leave them out and list
      them (default: fail)
  --overwrite
      replace manifests that are there

examples
  earmark prepare esc50 ESC-50-master.zip --output manifests/esc50
  earmark train --train_file manifests/esc50/all.csv --fold_column fold --group_column src_file \\
      --model_type tc_resnet --output_dir runs/esc50"""


def help_text() -> str:
    """The help page."""
    from earmark.data.corpora.prepare import CORPORA

    lines = [_HEAD, "data sets"]
    for name, corpus in CORPORA.items():
        clips = f"{corpus.clips:,} clips, " if corpus.clips else ""
        lines += [
            f"  {name:<16}{clips}{corpus.classes} classes; {corpus.archive}",
            f"  {'':<16}has {corpus.layout}",
            f"  {'':<16}train with {corpus.flags or 'its own splits'}",
            f"  {'':<16}{corpus.source}",
        ]
    return "\n".join([*lines, "", _FLAGS])


def parse_prepare(words: Sequence[str]) -> argparse.Namespace:
    """``name``, ``source``, ``output``, ``on_missing`` and ``overwrite``.

    Raises:
        UsageError: a flag is wrong, or the name, the folder or the output is missing.
    """
    from earmark.data.corpora.prepare import corpus_called

    parser = UsageErrorParser(allow_abbrev=False, add_help=False)
    parser.add_argument("--output")
    parser.add_argument("--on_missing", choices=("fail", "skip"), default="fail")
    parser.add_argument("--overwrite", action="store_true")
    options, rest = parser.parse_flags(words)
    if rest:
        corpus_called(rest[0])
    if len(rest) != 2 or not options.output:
        raise UsageError(
            "name a data set, where it is and where its manifests go: "
            "earmark prepare NAME FOLDER_OR_ARCHIVE --output DIR"
        )
    options.name, options.source = rest
    return options


def run(words: Sequence[str]) -> None:
    """Write the manifests and print what is in them."""
    from earmark.data.corpora.prepare import prepare

    options = parse_prepare(words)
    prepared = prepare(
        options.name,
        options.source,
        options.output,
        skip_missing=options.on_missing == "skip",
        overwrite=options.overwrite,
    )
    print("\n".join(prepared.lines))
