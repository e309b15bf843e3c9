"""What commands import before they work: a budget of modules and CPU seconds, and modules that they have no use for.

Everything is compared with ``import torch`` in the same environment, so versions and machines do not matter.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile

from tests.families.tiny_models import build_varied
from tests.started import Started, start
from tests.tiny import RATE_HZ, tone, write_tones

# Transformers' model base alone costs more than torch: it imports the other modules up to sklearn.
NEVER = {"transformers", "accelerate", "torch._dynamo", "torch.distributed.tensor", "sympy", "sklearn", "scipy.stats"}
NEVER |= {"scipy.optimize", "scipy.signal", "pandas", "datasets", "peft", "matplotlib", "librosa", "huggingface_hub"}
MOST_MODULES = 450  # in addition to torch's; predict has 230 and evaluate 360
MOST_CPU = 2.5  # times those of importing torch; measured: 1.3 for TC-ResNet, 1.4 for a tiny wav2vec2
CASES = [("tc_resnet", "predict"), ("tc_resnet", "evaluate"), ("tc_resnet", "class")]
CASES += [("wav2vec2", "predict"), ("wav2vec2", "embed"), ("whisper", "predict")]


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tones(tmp_path_factory.mktemp("sounds"), per_class=2, seconds=0.3)


@pytest.fixture(scope="module")
def only_torch() -> Started:
    return start("import torch")


def run(command: str, model: Path, sounds: Path, output: Path) -> Started:
    output.mkdir(exist_ok=True)
    clip = output / "clip.wav"
    soundfile.write(clip, tone(500, 0.3), RATE_HZ)
    if command == "class":
        return start("import earmark, sys; earmark.Classifier.from_pretrained(sys.argv[1]).predict(sys.argv[2])",
                     str(model), str(clip))  # fmt: skip
    words = {
        "predict": [str(clip)],
        "embed": [str(clip), "--output", str(output / "rows.npy")],
        "evaluate": ["--data_dir", str(sounds), "--output_dir", str(output / "evaluation")],
    }[command]
    main = "import sys; from earmark.cli.main import main; assert main(sys.argv[1:]) == 0"
    return start(main, command, str(model), *words, "--device", "cpu")


@pytest.mark.parametrize(("kind", "command"), CASES)
def test_commands_import_what_they_use(
    kind: str, command: str, sounds: Path, only_torch: Started, tmp_path: Path
) -> None:
    audio = build_varied(kind)
    audio.model.config.id2label = dict(enumerate(("high", "low", "mid")))
    audio.model.config.label2id = {name: index for index, name in audio.model.config.id2label.items()}
    audio.save(model := tmp_path / "model")
    started = run(command, model, sounds, tmp_path)
    added = started.modules - only_torch.modules
    assert sorted(NEVER & added) == []
    assert len(added) <= MOST_MODULES
    if started.cpu_s > MOST_CPU * only_torch.cpu_s:  # measured again, because another process may have interfered
        again, base = run(command, model, sounds, tmp_path / "again"), start("import torch")
        assert again.cpu_s <= MOST_CPU * base.cpu_s
