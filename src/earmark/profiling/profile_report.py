"""Write a profile as a table and as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from earmark.profiling.attribution import StepProfile
from earmark.profiling.bounds import Advice, Peak, describe_bounds


@dataclass(frozen=True)
class ProfileReport:
    """A profile with everything that a reader needs.

    Attributes:
        title: what was profiled: ``10 training steps of whisper on AMD EPYC (2 cores), bf16``.
        profile: times of the parts.
        peak: fastest matrix products of the device; ``None`` if the model has none or their speed is unknown.
        advice: flags of the command that was profiled.
        trace: name of the file with the trace.
    """

    title: str
    profile: StepProfile
    peak: Peak | None
    advice: Advice
    trace: str

    @property
    def bounds(self) -> list[str]:
        """What bounds the run, in words."""
        return describe_bounds(self.profile, self.peak, self.advice)

    def to_dict(self) -> dict[str, Any]:
        """Return the values for JSON."""
        profile, peak = self.profile, self.peak
        return {
            "title": self.title,
            "steps": profile.steps,
            "seconds_per_step": profile.seconds,
            "times_are_of": "device" if profile.on_device else "host",
            "main_thread_ran": profile.ran,
            "parts": [
                {
                    "part": cost.part.value,
                    "seconds_per_step": cost.seconds,
                    "share_of_time": cost.seconds / profile.seconds,
                    "flop_per_step": cost.flop,
                    "share_of_peak": self._share_of_peak(cost.flop, cost.seconds),
                }
                for cost in profile.parts
            ],
            "matrix_products": {
                "seconds_per_step": profile.product_s,
                "flop_per_step": profile.flop,
                "share_of_peak": self._share_of_peak(profile.flop, profile.product_s),
            },
            "peak": None if peak is None else asdict(peak),
            "bounds": self.bounds,
            "trace": self.trace,
        }

    def to_text(self) -> str:
        """Return a table of the parts, and what bounds the run."""
        profile = self.profile
        rows = [("part", "ms per step", "of time", "GFLOP per step", "of peak")]
        costs = [(cost.part.value, cost.seconds, cost.flop) for cost in profile.parts]
        for name, seconds, flop in [*costs, ("whole step", profile.seconds, profile.flop)]:
            rows.append(
                (name, _number(1000 * seconds), _percent(seconds / profile.seconds), *self._compute(flop, seconds))
            )
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = [
            "  ".join(
                [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
            )
            for row in rows
        ]
        peak = [] if self.peak is None else ["", f"peak: {_describe_peak(self.peak)}"]
        bounds = ["", "what bounds the run:", *(f"- {line}" for line in self.bounds)]
        return "\n".join([self.title, "", *(line.rstrip() for line in lines), *peak, *bounds, ""])

    def _compute(self, flop: float, seconds: float) -> tuple[str, str]:
        share = self._share_of_peak(flop, seconds)
        return ("" if flop == 0 else _number(flop / 1e9)), ("" if share is None else _percent(share))

    def _share_of_peak(self, flop: float, seconds: float) -> float | None:
        if self.peak is None or flop == 0 or seconds == 0:
            return None
        return flop / seconds / self.peak.flop_per_second


def _describe_peak(peak: Peak) -> str:
    return f"{peak.flop_per_second / 1e9:,.0f} GFLOP/s in {peak.dtype}, {peak.source}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _number(value: float) -> str:
    return f"{value:,.1f}" if value >= 10 else f"{value:.3g}"
