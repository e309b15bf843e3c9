from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from earmark.settings.train_settings import parse_train

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))


def test_the_promised_recipes_are_there() -> None:
    assert {path.stem for path in RECIPES} >= {
        "superb_ks_wav2vec2_base",
        "superb_ks_hubert_base",
        "superb_ks_distilhubert",
        "superb_ks_ast",
        "superb_ks_whisper_tiny",
        "superb_ks_wavlm_base",
        "common_language_wav2vec2_base",
        "esc50_ast",
        "speech_commands_12_whisper_tiny",
    }


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_is_complete_as_it_stands(path: Path) -> None:
    settings = parse_train(["--config", str(path)])
    assert settings.notes == []
    assert settings.model.model_name_or_path or settings.model.model_type
    assert settings.data.data_dir or settings.data.train_file
    assert settings.data.max_length_seconds
    assert Path(str(settings.training.output_dir)).name.startswith(path.stem)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_says_what_to_expect_and_who_says_so(path: Path) -> None:
    head = " ".join(path.read_text(encoding="utf-8").split("\n\n")[0].replace("#", " ").split())
    expected = head[head.index("Expected:") : head.index("Data:")]
    figures = re.findall(r"0\.\d{3,4}", expected)
    assert "no accuracy is published" in expected.lower() or figures
    if figures:
        assert re.search(r"README|model card|arXiv|docs/accuracy", expected)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_steps_are_of_the_size_the_head_of_the_file_names(path: Path) -> None:
    stated = re.search(r"(\d+) clips a step", path.read_text(encoding="utf-8").split("One device:")[-1])
    training = parse_train(["--config", str(path)]).training
    clips = training.per_device_train_batch_size * training.gradient_accumulation_steps
    assert stated is None or int(stated.group(1)) == clips


def test_the_commands_of_the_common_language_recipe(tmp_path: Path) -> None:
    for name in ("Arabic/train/ara_1/a.wav", "Dutch/train/nld_1/b.wav", "Dutch/dev/nld_2/c.wav"):
        (tmp_path / "common_voice_kpd" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "common_voice_kpd" / name).touch()
    text = (ROOT / "recipes" / "common_language_wav2vec2_base.yaml").read_text(encoding="utf-8")
    commands = "\n".join(line[1:] for line in text.splitlines() if line.startswith("#   "))
    subprocess.run(["bash", "-euc", commands], cwd=tmp_path, check=True)
    rows = (tmp_path / "common_voice_kpd" / "train.csv").read_text().splitlines()
    assert rows == [
        "audio,label,speaker",
        "Arabic/train/ara_1/a.wav,Arabic,ara_1",
        "Dutch/train/nld_1/b.wav,Dutch,nld_1",
    ]
    assert "nld_2" in (tmp_path / "common_voice_kpd" / "dev.csv").read_text()


def test_the_commands_of_the_esc50_recipe(tmp_path: Path) -> None:
    (tmp_path / "ESC-50-master" / "meta").mkdir(parents=True)
    (tmp_path / "ESC-50-master" / "audio").mkdir()
    rows = ["filename,fold,target,category", "1-a-0.wav,1,0,dog", "5-b-1.wav,5,1,rooster"]
    (tmp_path / "ESC-50-master" / "meta" / "esc50.csv").write_text("\n".join(rows) + "\n")
    text = (ROOT / "recipes" / "esc50_ast.yaml").read_text(encoding="utf-8")
    commands = "\n".join(line[1:] for line in text.splitlines() if line.startswith("#   "))
    subprocess.run(["bash", "-euc", commands], cwd=tmp_path, check=True)
    audio = tmp_path / "ESC-50-master" / "audio"
    assert (audio / "train.csv").read_text().splitlines() == rows[:2]
    assert (audio / "eval.csv").read_text().splitlines() == [rows[0], rows[2]]


def test_the_documentation_has_every_recipe_with_its_figures() -> None:
    table = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    for path in RECIPES:
        row = next(line for line in table.splitlines() if line.startswith(f"| `{path.stem}` |"))
        head = path.read_text(encoding="utf-8").split("\n\n")[0]
        for figure in re.findall(r"(?<!-)0\.\d{3,4}", row):
            assert figure in head


def test_the_documented_file_parses(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8").split("```yaml\n")[1].split("```")[0]
    (tmp_path / "recipe.yaml").write_text(text, encoding="utf-8")
    settings = parse_train(["--config", str(tmp_path / "recipe.yaml")])
    assert settings.training.save_total_limit is None
    assert settings.training.eval_strategy == "no"
