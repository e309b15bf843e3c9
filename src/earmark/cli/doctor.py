"""``earmark doctor``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from earmark.cli.parsing import UsageErrorParser
from earmark.errors import DeviceError, EarmarkError, UsageError

if TYPE_CHECKING:
    from earmark.doctor.run import Examination
    from earmark.doctor.selftest import SelfTest

_HELP = """\
earmark doctor: find what is wrong with this machine, what it means, and how to fix it

usage: earmark doctor [flags]

Looks at drivers, npu-smi or nvidia-smi, CANN and its libraries, versions that belong together, codecs, disks
and the hub; imports torch in a process of its own, so that it also answers where that fails or hangs; computes
and trains a little on every device and compares with the CPU.

flags
  --device DEVICE
      check only npu, cuda, xpu, mps or cpu, or one card of them (npu:0); its absence is then a problem
      (default: whatever is here, and the CPU)
  --selftest
      then train 20 steps of a small model on every card and compare losses and weights with the CPU's;
      the table it prints is what a report from a card should hold
  --json
      one JSON object on stdout instead of text

exit codes: 0 fine (warnings allowed), 2 something has to be fixed, or there is no card to test

examples
  earmark doctor
  earmark doctor --device npu
  earmark doctor --selftest --json > report.json"""


def help_text() -> str:
    """The help page."""
    return _HELP


def parse_doctor(words: Sequence[str]) -> argparse.Namespace:
    """``device``, ``selftest`` and ``json``.

    Raises:
        UsageError: a flag is wrong.
    """
    from earmark.doctor.run import kind_of

    parser = UsageErrorParser(allow_abbrev=False, add_help=False)
    parser.add_argument("--device")
    parser.add_argument("--selftest", action="store_true")
    parser.add_argument("--json", action="store_true")
    options, rest = parser.parse_flags(words)
    if rest:
        raise UsageError(f"unexpected word {rest[0]!r}: earmark doctor [flags]")
    if options.selftest and kind_of(options.device) == "cpu":
        raise UsageError("--selftest compares cards with the CPU: name a card with --device, or leave it out for all")
    kind_of(options.device)
    return options


def run(words: Sequence[str]) -> None:
    """Examine this machine and print what was found.

    Raises:
        EarmarkError: something has to be fixed.
    """
    options = parse_doctor(words)
    from earmark.doctor.findings import count_by_status, environment_table, render
    from earmark.doctor.machine import Machine
    from earmark.doctor.run import environment, examine
    from earmark.doctor.selftest import render_selftest, run_selftest

    machine = Machine()
    seen = examine(options.device, machine)
    facts = environment(machine)
    if not options.json:
        print(render(seen.findings), flush=True)
    test = run_selftest(seen.devices, machine) if options.selftest and seen.devices else None
    if options.json:
        report = {
            "device": options.device,
            "environment": facts,
            "summary": count_by_status(seen.findings),
            "findings": [finding.to_dict() for finding in seen.findings],
            "selftest": test.to_dict() if test else None,
        }
        print(json.dumps(report, indent=2))
    elif test is not None:
        print(f"\nself-test\n{environment_table(facts)}\n\n{render_selftest(test)}")
    elif options.selftest:
        print("\nself-test: torch sees no card here, so nothing was compared with the CPU")
    _stop_on_problems(options, seen, test)


def _stop_on_problems(options: argparse.Namespace, seen: Examination, test: SelfTest | None) -> None:
    if options.selftest and test is None and options.device not in (None, "auto"):
        raise DeviceError(f"--selftest --device {options.device}: torch sees no such card, so nothing was compared")
    if test is not None and not test.passed:
        failed = sorted({row.device for row in test.rows if not row.passed})
        raise DeviceError(f"the self-test failed on {', '.join(failed)}; please report it with the table")
    problems = sum(finding.status == "problem" for finding in seen.findings)
    if problems:
        raise EarmarkError(f"{problems} problem{'' if problems == 1 else 's'} to fix, each with its remedy above")
