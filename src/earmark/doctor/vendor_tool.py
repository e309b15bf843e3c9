"""Run the vendors' tools that report on their cards."""

from __future__ import annotations

from earmark.doctor.findings import Finding, problem, warning
from earmark.doctor.machine import Answer, Machine
from earmark.faults import explain

_TIMEOUT_S = 20.0


def ask_tool(machine: Machine, name: str, words: list[str], source: str) -> Answer | Finding:
    """Run a vendor's tool.

    Args:
        machine: machine to check.
        name: name of the tool.
        words: its arguments.
        source: where to get the tool if it is missing.

    Returns:
        Its output, or a finding if it cannot be used.
    """
    tool = machine.tool(name)
    if tool is None:
        means = "health and memory of the cards are unknown; training does not need the tool"
        return warning(name, "not found", means, source)
    return machine.run([tool, *words], _TIMEOUT_S)


def tool_failed(name: str, ran: Answer) -> Finding:
    """Return the finding for a vendor's tool that failed or printed nothing."""
    known = explain(ran.text)
    means = "the command hangs: the driver does not respond" if ran.code is None else "the driver does not respond"
    line = ran.text.strip().splitlines()[0] if ran.text.strip() else "printed nothing"
    ended = f"no result after {_TIMEOUT_S:g} s" if ran.code is None else f"exit code {ran.code}: {line}"
    return problem(
        name,
        ended,
        known.means if known else means,
        known.fix if known else "restart the machine, or reinstall the driver",
    )
