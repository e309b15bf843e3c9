"""``earmark doctor``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from earmark.cli.command import Command, HelpPage
from earmark.errors import DeviceError, EarmarkError, UsageError
from earmark.settings.flags import Settings, flag
from earmark.text import counted

if TYPE_CHECKING:
    from earmark.doctor.examine import Examination
    from earmark.doctor.selftest import SelfTest


@dataclass
class DoctorOptions(Settings):
    """Settings of ``earmark doctor``: the devices to check, and the form of the output."""

    device: str | None = flag(
        None,
        "Check only this device: npu, cuda, xpu, mps, cpu or one card (npu:0); its absence is then a problem (default: "
        "every device that is found, and the CPU).",
    )
    selftest: bool = flag(
        False,
        "Train 20 steps of a small model on every card, too, and compare losses and weights with training on the CPU. "
        "Add the printed table to a report about a card.",
    )
    json: bool = flag(False, "Print one JSON object instead of text.")

    def validate(self) -> None:
        """Check the name of the device."""
        super().validate()
        from earmark.doctor.examine import device_kind

        if self.selftest and device_kind(self.device) == "cpu":
            raise UsageError(
                "--selftest compares cards with the CPU. Name a card with --device, or leave it out to compare all "
                "cards."
            )
        device_kind(self.device)


def _doctor(options: DoctorOptions) -> None:
    """Examine this machine and print the findings.

    Raises:
        EarmarkError: something has to be fixed.
    """
    from earmark.doctor.examine import environment, examine
    from earmark.doctor.findings import count_by_status, environment_table, render
    from earmark.doctor.machine import Machine
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


def _stop_on_problems(options: DoctorOptions, seen: Examination, test: SelfTest | None) -> None:
    if options.selftest and test is None and options.device not in (None, "auto"):
        raise DeviceError(
            f"--selftest --device {options.device}: torch sees no such card, so nothing was compared. "
            f"Name a card that `earmark doctor` lists."
        )
    if test is not None and not test.passed:
        failed = sorted({row.device for row in test.rows if not row.passed})
        raise DeviceError(f"the self-test failed on {', '.join(failed)}. Report it with the table.")
    if seen.num_problems:
        raise EarmarkError(f"{counted(seen.num_problems, 'problem')} found. Fix each with the remedy above.")


_PAGE = HelpPage(
    summary="find what is wrong with this machine and how to fix it",
    usage="earmark doctor [flags]",
    text="""
Checks drivers, npu-smi or nvidia-smi, CANN and its libraries, versions that belong together, codecs, disks and the
hub. Imports torch in a separate process, to report an import that fails or hangs. Computes and trains a little on every
device, and compares the results with those of the CPU.""",
    notes="Exit codes: 0 fine (warnings allowed), 2 something has to be fixed, or there is no card to test.",
    examples="""
earmark doctor
earmark doctor --device npu
earmark doctor --selftest --json > report.json""",
)
COMMAND = Command("doctor", _doctor, (DoctorOptions,), _PAGE, needs_files=False)
