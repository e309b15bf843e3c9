"""Label tracks for Audacity. Source: Audacity's manual, "Importing and Exporting Labels"."""

from __future__ import annotations

from earmark.predict.formats.format import SegmentRows, in_one_line
from earmark.predict.timeline import Segment
from earmark.tasks import Task


class AudacityRows(SegmentRows):
    """Start, end and label, with tabs between them.

    ``append_score`` puts the score after the label. A regression always has it, because its label is the name of the
    number.
    """

    def segment(self, source: str, segment: Segment) -> str:
        """Return one label."""
        label = in_one_line(segment.label)
        if self.settings.append_score or self.settings.task is Task.REGRESSION:
            label = f"{label} {segment.score:.2f}"
        return f"{segment.start_s:.6f}\t{segment.end_s:.6f}\t{label}\n"
