"""The tools of vendors that report on their cards."""

from __future__ import annotations

from earmark.doctor.findings import Finding, problem, warning
from earmark.doctor.machine import Answer, Machine
from earmark.faults import explain

_TIMEOUT_S = 20.0


def ask_tool(machine: Machine, name: str, words: list[str], source: str) -> Answer | Finding:
    """Run a vendor's tool.

    Args:
        machine: where it may be.
        name: the tool's.
        words: what it gets.
        source: where it comes from, if it is missing.

    Returns:
        What it printed, or why it cannot be asked.
    """
    tool = machine.tool(name)
    if tool is None:
        means = "health and memory of the cards cannot be asked for; training does not need it"
        return warning(name, "not found", means, source)
    return machine.run([tool, *words], _TIMEOUT_S)


def tool_failed(name: str, ran: Answer) -> Finding:
    """Return what it means that a vendor's tool failed, or printed nothing."""
    known = explain(ran.text)
    means = "it hangs: the driver does not answer" if ran.code is None else "the driver does not answer"
    line = ran.text.strip().splitlines()[0] if ran.text.strip() else "printed nothing"
    ended = f"no answer in {_TIMEOUT_S:g} s" if ran.code is None else f"exit code {ran.code}: {line}"
    return problem(
        name,
        ended,
        known.means if known else means,
        known.fix if known else "restart the machine; else reinstall the driver",
    )
