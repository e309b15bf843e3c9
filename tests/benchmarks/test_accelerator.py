"""``benchmarks/accelerator.py``: what its steps do to each other and to the results, and a whole run of ``--tiny``."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from transformers import HfArgumentParser, TrainingArguments
from transformers.activations import GELUActivation

from earmark.cli.command_table import COMMANDS
from earmark.families.wav2vec2_forward import Wav2Vec2Forward
from tests.patience import PATIENCE_S

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
FACTS = {
    "device": "cuda:0",
    "name": "NVIDIA H200",
    "precision": "bf16",
    "python": "3",
    "torch": "2",
    "transformers": "5",
}
CPU = torch.device("cpu")
STEPS = """
import json, pathlib, subprocess, sys, time
output, place = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
"""


@pytest.fixture(scope="module")
def modules() -> Iterator[Callable[[str], ModuleType]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        yield importlib.import_module


@pytest.fixture
def run(modules: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., tuple[int, Path]]:
    """Runs the script with steps of one line of Python each, on a device that is not asked for."""
    accelerator, steps = modules("accelerator"), modules("accelerator_steps")

    def with_steps(
        codes: dict[str, str], *words: str, limit_s: float = PATIENCE_S, least_s: float = 0.0
    ) -> tuple[int, Path]:
        output = tmp_path / "results"

        def made(*_: object) -> list[Any]:
            return [
                steps.Step(name, ["-c", STEPS + code, str(output), "{json}"], steps.read_job, limit_s, i * least_s)
                for i, (name, code) in enumerate(codes.items())
            ]

        def probe(self: Any) -> dict[str, Any]:
            self.facts = FACTS
            return FACTS

        monkeypatch.setattr(accelerator, "all_steps", made)
        monkeypatch.setattr(accelerator, "preparations", lambda machine: [])
        monkeypatch.setattr(accelerator.Bench, "probe", probe)
        return accelerator.main(["--device", "cuda", "--output", str(output), *words]), output

    return with_steps


def says(verdict: str, note: str = "a note") -> str:
    return f"place.write_text(json.dumps({{'verdict': {verdict!r}, 'note': {note!r}, 'clips_per_second': 12.5}}))"


def outcomes(output: Path) -> dict[str, dict[str, Any]]:
    report = json.loads((output / "results.json").read_text(encoding="utf-8"))
    return {step["name"]: step["outcome"] for step in report["steps"]}


def test_results_are_written_after_every_step(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    second = "assert [s['name'] for s in json.loads((output / 'results.json').read_text())['steps']] == ['one']\n"
    second += "assert '| one | ok | 12.5 |' in (output / 'results.md').read_text()\n"
    code, output = run({"one": says("ok"), "two": second + says("ok")})
    found = outcomes(output)
    assert code == 0, found
    assert [one["status"] for one in found.values()] == ["ok", "ok"]
    printed = capsys.readouterr().out
    assert printed.strip() == (output / "results.md").read_text(encoding="utf-8").strip()
    assert "NVIDIA H200" in printed


def test_a_step_that_fails_does_not_stop_the_others(run: Any) -> None:
    code, output = run(
        {
            "raises": "print('a line')\nraise ValueError('out of luck')",
            "says nothing": "sys.exit(3)",
            "fails": "print('earmark: error: no room left. Free some.', file=sys.stderr)\nprint('bye')\nsys.exit(2)",
            "wrong device": "sys.exit('earmark: error: npu:0: this device computes the model wrongly in float32')",
            "no figures": "place.write_text('{}')",
            "last": says("ok"),
        }
    )
    found = outcomes(output)
    assert code == 1
    assert {name: one["status"] for name, one in found.items()} == {
        "raises": "failed", "says nothing": "failed", "fails": "failed", "wrong device": "WRONG",
        "no figures": "failed", "last": "ok",
    }  # fmt: skip
    assert found["raises"]["note"] == "exit code 1: ValueError: out of luck"
    assert found["says nothing"]["note"] == "exit code 3: no output"
    assert found["fails"]["note"] == "exit code 2: no room left. Free some."
    assert found["no figures"]["note"] == "the results cannot be read (KeyError: 'verdict')"
    assert "a line" in (output / "logs" / "raises.out.txt").read_text()


def test_a_wrong_result_is_shown_and_gives_exit_status_1(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    code, _ = run({"one": says("ok"), "two": says("WRONG") + "\nsys.exit(1)"})
    assert code == 1
    assert "| two | WRONG | 12.5 |" in capsys.readouterr().out


def test_a_step_that_takes_too_long_ends_with_all_that_it_started(run: Any, tmp_path: Path) -> None:
    child = "import os, pathlib, sys, time; pathlib.Path(sys.argv[1]).write_text(str(os.getpid())); time.sleep(300)"
    mark = tmp_path / "child"
    code = f"subprocess.Popen([sys.executable, '-c', {child!r}, {str(mark)!r}])\n"
    code += f"while not pathlib.Path({str(mark)!r}).exists(): time.sleep(0.01)\n" + says("ok") + "\ntime.sleep(300)"
    began = time.monotonic()
    status, output = run({"slow": code, "next": says("ok")}, limit_s=8.0)
    assert time.monotonic() - began < 200
    found = outcomes(output)
    assert status == 1
    assert (found["slow"]["status"], found["next"]["status"]) == ("timed out", "ok")
    assert found["slow"]["note"] == "stopped after 8 s; a note"  # what it had found counts
    assert is_gone(int(mark.read_text()))


def is_gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody has waited for yet has ended, too."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (ProcessLookupError, FileNotFoundError):
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False


def test_steps_that_do_not_fit_the_limit_are_skipped(run: Any) -> None:
    code, output = run({"one": says("ok"), "two": says("ok")}, "--limit_s", "600", least_s=1000)
    found = outcomes(output)
    assert code == 0  # nothing is wrong
    assert (found["one"]["status"], found["two"]["status"]) == ("ok", "skipped")
    assert found["two"]["note"].endswith("s of --limit_s 600 left, 1000 s needed")


def test_tiny_says_what_it_leaves_out(run: Any) -> None:
    _, output = run({"one": says("ok")}, "--tiny")
    assert outcomes(output)["one"] == outcomes(output)["one"] | {"status": "skipped", "note": "not part of --tiny"}
    assert "these speeds mean nothing" in (output / "results.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--device", "gpu"], "--device gpu: not a device. Use cuda, npu, xpu, mps or cpu, or an index as in npu:0."),
        (["--device", "cuda:x"], "--device cuda:x: not a device. Use cuda"),
        (["--device", "cuda:"], "--device cuda:: not a device. Use cuda"),
        (["--device", "cpu", "--limit_s", "-5"], "--limit_s -5: not a time. Give a number of seconds above 0."),
        (["--device", "cpu", "--limit_s", "nan"], "--limit_s nan: not a time"),
        (["--device", "cuda", "--model", "x"], "--model and --data_dir belong together"),
        (["--device", "cpu", "--tiny", "--model", "gone", "--data_dir", "."], "--model gone: no such folder"),
        (["--device", "cpu", "--model", ".", "--data_dir", "gone"], "--data_dir gone: no such folder. Fix the path."),
    ],
)
def test_words_that_cannot_work(
    words: list[str], message: str, modules: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit:
        modules("accelerator").main([*words, "--output", str(tmp_path / "results")])
    assert exit.value.code == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_without_torch_the_install_command_is_one_line(
    modules: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "torch" else find(name))
    with pytest.raises(SystemExit) as exit:
        modules("accelerator").main(["--device", "cuda", "--output", str(tmp_path / "results")])
    assert exit.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("accelerator.py: error: accelerator.py needs torch. ")
    assert "pip install 'earmark[train]'" in line


def script(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCHMARKS / "accelerator.py"), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_device_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    if torch.xpu.is_available():
        pytest.skip("there is one")
    done = script("--device", "xpu", "--output", str(tmp_path / "results"))
    assert done.returncode == 2
    assert done.stdout == ""
    assert (
        done.stderr
        == "accelerator.py: error: --device xpu: torch found no xpu device. Use --device cpu to run without one.\n"
    )


def test_a_device_that_does_not_answer_names_the_limit(tmp_path: Path) -> None:
    done = script("--device", "cpu", "--output", str(tmp_path / "results"), "--limit_s", "0.01")
    assert done.returncode == 2
    seconds = re.fullmatch(r"accelerator.py: error: no answer in (\S+) s. Run `earmark doctor`.\n", done.stderr)
    assert seconds is not None
    assert float(seconds[1]) <= 0.01


def test_measured_beside_predicted(modules: Any, tmp_path: Path) -> None:
    steps, roofline = modules("accelerator_steps"), modules("roofline")
    figures = {
        "clips_per_second": 1000.0, "matmul_peak_flop_per_second": 7e14, "dtype": "bfloat16", "share_of_peak": 0.25,
        "useful_share": 0.75, "memory": {"peak_device_bytes": 3_000_000_000},
    }  # fmt: skip

    def found(name: str, machine: Any) -> Any:
        (step,) = [step for step in steps.all_steps(machine, None) if step.name == name]
        return step.read({"figures": figures})

    known = steps.Machine("cuda", "NVIDIA H200", "bf16", tmp_path, tiny=False)
    train = found("train", known)
    assert (train.predicted, train.aim) == (
        roofline.predict(roofline.WAV2VEC2, roofline.TRAIN_KEPT, roofline.DEVICES[1], 128).clips_per_second,
        "8,000 clips/s",
    )
    assert train.note == "batch 128, bfloat16, 25 % of 700 TFLOP/s measured, 25 % padding"
    cells = modules("accelerator").cells(modules("accelerator").Result("train", train, 3.0))
    assert cells[2:7] == [
        "1,000.0",
        f"{train.predicted:,.0f}",
        f"{1000 / train.predicted:.2f}",
        "8,000 clips/s",
        "3 GB",
    ]
    assert found("train-mixed", known).predicted is None
    assert found("train", steps.Machine("cuda", "a new card", "bf16", tmp_path, tiny=False)).predicted is None


def test_all_families_are_compared(modules: Any) -> None:
    from earmark.families.family_registry import FAMILIES

    parity = modules("device_parity")
    assert set(parity.model_types(first_only=False)) == {name for family in FAMILIES for name in family.model_types}
    assert len(parity.model_types(first_only=True)) == len(FAMILIES)


def test_equal_devices_are_equal(modules: Any) -> None:
    row = modules("device_parity").compared("wav2vec2", CPU, "fp32", full_size=False)
    assert (row.verdict, row.cpu, row.gradients, row.note) == ("ok", 0.0, 0.0, "")
    assert row.mixed < 1e-4


def test_a_wrong_kernel_is_wrong_and_its_layer_is_named(modules: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    right = GELUActivation.forward

    def gelu(self: Any, values: torch.Tensor) -> torch.Tensor:
        output = right(self, values)
        return output.flip(-1) if values.dtype == torch.bfloat16 else output

    monkeypatch.setattr(GELUActivation, "forward", gelu)
    row = modules("device_parity").compared("wav2vec2", CPU, "bf16", full_size=False)
    assert row.verdict == "WRONG"
    assert "GELUActivation" in row.note


def test_padding_that_is_seen_is_wrong(modules: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Wav2Vec2Forward, "num_frames", lambda self, num_samples: None)
    row = modules("device_parity").compared("wav2vec2", CPU, "fp32", full_size=False)
    assert (row.verdict, row.cpu) == ("WRONG", 0.0)
    assert row.mixed > 1e-3


def test_an_architecture_that_fails_is_a_row(
    modules: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parity, place = modules("device_parity"), tmp_path / "rows.json"
    words = ["--device", "cpu", "--models", "no_such_model", "tc_resnet", "--json", str(place)]
    monkeypatch.setattr(sys, "argv", ["device_parity.py", *words])
    assert parity.main() == 1
    verdicts = [(row["model"], row["verdict"]) for row in json.loads(place.read_text())["rows"]]
    assert verdicts == [("no_such_model", "failed")] * 2 + [("tc_resnet", "ok")] * 2
    assert "no_such_model fp32: failed" in capsys.readouterr().out
    outcome = modules("accelerator_steps").read_rows(json.loads(place.read_text()))
    assert outcome.status == "failed"
    assert outcome.note == "2 of 4 within tolerance; not: no_such_model fp32, no_such_model bf16"


def test_every_command_line_of_a_full_run_parses(modules: Any, tmp_path: Path) -> None:
    """These steps run only where there is an accelerator, so a wrong flag would show there first."""
    steps, compare, plain = modules("accelerator_steps"), modules("compare"), modules("plain_train")
    parser = HfArgumentParser((plain.PlainArguments, TrainingArguments))
    machine = steps.Machine("cuda", "NVIDIA H200", "bf16", tmp_path, tiny=False)
    parsed = []
    for step in steps.all_steps(machine, (str(tmp_path), str(tmp_path))):
        words = [word.replace("{json}", str(tmp_path / "figures.json")) for word in step.words]
        if words[:2] == ["-m", "earmark"]:
            COMMANDS[words[2]].read(words[3:])
            parsed.append(step.name)
        elif words[0].endswith("compare.py"):
            place = words.index("--")
            own = compare.parse(words[1:place], shared := words[place + 1 :])
            if own.work == "train":
                parser.parse_args([*shared, *own.reference_flags, "--output_dir", "out"])
                COMMANDS["train"].read([*shared, *own.earmark_flags, "--output_dir", "out"])
            else:
                COMMANDS["predict"].read([*shared, *own.earmark_flags])
            parsed.append(step.name)
        elif words[0].endswith("run_earmark.py"):
            COMMANDS[words[1]].read(words[2:])
            parsed.append(step.name)
    assert {"doctor", "train-graphs", "infer-fp16", "data", "beside-pipeline-best", "real-recordings"} <= set(parsed)
    assert len(parsed) >= 19


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_tiny_on_the_cpu(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    done = script("--device", "cpu", "--tiny", "--output", str(tmp_path / "results"), "--limit_s", "1000")
    found = outcomes(tmp_path / "results")
    assert done.returncode == 0, (found, done.stderr)
    done_steps = {name for name, one in found.items() if one["status"] == "ok"}
    assert done_steps == {"parity", "train", "infer", "beside-plain-defaults", "data", "resume", "export"}
    for name in ("train", "infer", "beside-plain-defaults", "data"):
        assert found[name]["clips_per_second"] > 0
    assert "ended at step 40 of 40" in found["resume"]["note"]
    assert [row["format"] for row in found["export"]["rows"]] == ["onnx", "pt2"]
    assert "## parity" in done.stdout
