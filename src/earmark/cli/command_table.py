"""The table of all commands, in the order of ``earmark --help``."""

from __future__ import annotations

from earmark.cli import (
    augment_preview_command,
    bench_command,
    calibrate_command,
    completion_command,
    doctor_command,
    embed_command,
    evaluate_command,
    export_command,
    inspect_command,
    label_command,
    predict_command,
    prepare_command,
    push_command,
    quickstart_command,
    report_command,
    results_command,
    search_command,
    serve_command,
    synth_command,
    train_command,
)

_MODULES = (
    quickstart_command,
    inspect_command,
    augment_preview_command,
    prepare_command,
    train_command,
    search_command,
    evaluate_command,
    calibrate_command,
    predict_command,
    export_command,
    embed_command,
    label_command,
    push_command,
    serve_command,
    results_command,
    report_command,
    synth_command,
    bench_command,
    doctor_command,
    completion_command,
)
COMMANDS = {module.COMMAND.name: module.COMMAND for module in _MODULES}
