"""Rich Transcription Time Marked. Source: the RT-09 evaluation plan of NIST, appendix A."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence

from earmark.predict.formats.format import SegmentRows, score_text
from earmark.predict.timeline import Segment


class RttmRows(SegmentRows):
    """One SPEAKER line for each segment; fields contain no blanks, so they become underscores."""

    def segment(self, source: str, segment: Segment) -> str:
        """Return one line: file, channel, onset, duration, class, score."""
        file_id = self.settings.ids.get(source) or _field(os.path.splitext(source)[0])
        length_s = segment.end_s - segment.start_s
        return (
            f"SPEAKER {file_id} 1 {segment.start_s:.3f} {length_s:.3f} <NA> <NA> {_field(segment.label)} "
            f"{score_text(segment.score)} <NA>\n"
        )


def file_ids(sources: Sequence[str]) -> dict[str, str]:
    """Return an id for each recording, all different.

    The id is the path without its suffix; with it if two recordings differ in nothing else (``rec.wav``, ``rec.flac``);
    numbered if they still have one id (``a b.wav``, ``a_b.wav``).
    """
    short = {source: _field(os.path.splitext(source)[0]) for source in sources}
    counts = Counter(short.values())
    ids: dict[str, str] = {source: name for source, name in short.items() if counts[name] == 1}
    used = set(ids.values())
    for source in sources:
        if source in ids:
            continue
        name = whole = _field(source)
        number = 1
        while name in used:
            number += 1
            name = f"{whole}~{number}"
        ids[source] = name
        used.add(name)
    return ids


def _field(text: str) -> str:
    return re.sub(r"\s", "_", text) or "_"
