"""The table of all commands, in the order of ``earmark --help``."""

from __future__ import annotations

from earmark.cli import (
    augment_preview,
    bench,
    calibrate,
    completion,
    doctor,
    embed,
    evaluate,
    export,
    inspect,
    label,
    predict,
    prepare,
    push,
    quickstart,
    report,
    results,
    search,
    serve,
    synth,
    train,
)

_MODULES = (
    *(quickstart, inspect, augment_preview, prepare, train, search, evaluate, calibrate, predict, export, embed),
    *(label, push, serve, results, report, synth, bench, doctor, completion),
)
COMMANDS = {module.COMMAND.name: module.COMMAND for module in _MODULES}
