"""One declaration for each flag, and what follows from it."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from transformers import TrainingArguments as TheirArguments
from transformers.models.auto.modeling_auto import MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES

from earmark.cli.command import Command
from earmark.cli.command_table import COMMANDS
from earmark.cli.pages import help_page
from earmark.errors import UsageError
from earmark.settings import transformers_flags
from earmark.settings.config_files import resolved_config, save_config
from earmark.settings.data_flags import DataArguments
from earmark.settings.flags import Flag, Scope, Settings, above, at_least, declared_flags, flag, names_with
from earmark.settings.given_values import _OTHER_NAMES, make_settings, read_file, read_values, read_words
from earmark.settings.kinds import shown
from earmark.settings.model_flags import ModelArguments
from earmark.settings.train_settings import TRAIN_CLASSES, from_keywords, parse_example, parse_train
from earmark.settings.training_flags import TrainingArguments
from earmark.train.run_facts import result_settings
from earmark.train.search_space import parse_space

ALL = [(command.name, one) for command in COMMANDS.values() for one in declared_flags(*command.settings).values()]


@dataclass
class Extended(TrainingArguments):
    """What it takes to add a flag."""

    max_shift_seconds: float = flag(
        0.1, "Longest shift of a clip, in seconds.", check=above(0), scope=Scope.LEARNED | Scope.EPOCHS
    )


def test_a_new_flag_is_one_declaration(tmp_path: Path) -> None:
    flags = declared_flags(Extended)
    read = make_settings(Extended, read_words(["--max_shift_seconds", "0.3", "--output_dir", "x"], flags))
    assert (read.max_shift_seconds, "max_shift_seconds" in read.given) == (0.3, True)
    command = dataclasses.replace(COMMANDS["train"], settings=(*TRAIN_CLASSES[:3], Extended))
    page = help_page(command)
    assert "  --max_shift_seconds X\n      Longest shift of a clip, in seconds (default: 0.1)." in page
    save_config(resolved_config(read), tmp_path / "run.yaml")
    file = str(tmp_path / "run.yaml")
    again = make_settings(Extended, read_file(file, flags))
    assert again.max_shift_seconds == 0.3
    with pytest.raises(UsageError, match="--max_shift_seconds -1: expected a number above 0"):
        Extended(max_shift_seconds=-1)
    assert result_settings(read)["max_shift_seconds"] == 0.3  # a resumed run is compared by it
    assert parse_space(["max_shift_seconds=0.1:0.5"], [Extended])[0].high == 0.5  # a search may vary it
    assert "max_shift_seconds" in names_with(Scope.EPOCHS, Extended)  # and --few_shot rejects it


def test_every_flag_has_help_a_type_and_a_scope() -> None:
    for command, one in ALL:
        name = f"{command} --{one.name}"
        assert one.help.endswith("."), name
        assert len(one.help) > 10, name
        assert isinstance(one.scope, Scope), name
        assert one.kind.choices or one.kind.expected, name
        # numbers that are counts or lengths say so; -1 and None stand for "no limit"
        if one.default is not None and one.kind.base in (int, float) and not one.kind.is_list:
            assert one.read(one.default) == one.default, name


@dataclass
class Birds(Settings):
    """A setting, and a flag that has an effect with one of its values."""

    sound: str = flag("song", "Sound to look for.")
    pitch_hz: float | None = flag(440.0, "pitch to look for.", only="song, call")

    def validate(self) -> None:
        self.reject_without([self.sound], lambda one: f"--{one.name} needs --sound {' or '.join(one.only)}.")


def test_a_flag_for_some_values_of_another_is_refused_with_others() -> None:
    assert declared_flags(Birds)["pitch_hz"].help == "song, call: pitch to look for."
    assert Birds(sound="call", pitch_hz=300.0).pitch_hz == 300.0
    assert Birds(sound="drumming").pitch_hz == 440.0
    for pitch_hz in ("300", "440"):  # given, also with its default
        given = read_words(["--sound", "drumming", "--pitch_hz", pitch_hz], declared_flags(Birds))
        with pytest.raises(UsageError, match="--pitch_hz needs --sound song or call"):
            make_settings(Birds, given)


@dataclass
class Laps(Settings):
    """A flag that needs no number behind it."""

    laps: int | None = flag(None, "Number of laps.", check=at_least(1), metavar="[N]", bare="3")


@pytest.mark.parametrize(
    ("words", "laps", "others"),
    [
        (["--laps"], 3, []),
        (["--laps", "5"], 5, []),
        (["--laps=5"], 5, []),
        (["--laps", "song.wav"], 3, ["song.wav"]),
        (["song.wav", "--laps", "5", "6"], 5, ["song.wav", "6"]),
        (["song.wav"], None, ["song.wav"]),
    ],
)
def test_a_flag_of_numbers_may_stand_alone(words: list[str], laps: int | None, others: list[str]) -> None:
    given = read_words(words, declared_flags(Laps))
    assert given.words == others
    assert Laps(**given.values).laps == laps


@pytest.mark.parametrize("word", ["1.5", "-3", "-.5", "+2.5"])
def test_another_number_behind_such_a_flag_is_refused(word: str) -> None:
    with pytest.raises(UsageError, match=rf"^--laps {re.escape(word)}: expected a whole number"):
        Laps(**read_words(["song.wav", "--laps", word], declared_flags(Laps)).values)
    assert read_words(["--laps", "2.wav"], declared_flags(Laps)).words == ["2.wav"]


def test_a_word_behind_such_a_flag_is_its_number_where_no_other_words_mean_anything() -> None:
    with pytest.raises(UsageError, match="--laps many: expected a whole number"):
        read_words(["--laps", "many"], declared_flags(Laps), has_words=False)


def test_all_pages_together_show_every_flag() -> None:
    for command in COMMANDS.values():
        page = help_page(command, everything=True)
        hidden = {*command.words} - {"model_name_or_path", "data_dir"}  # given as words
        missing = [name for name in declared_flags(*command.settings) if f"--{name}" not in page and name not in hidden]
        assert not missing, command.name
    everything = help_page(COMMANDS["train"], everything=True)
    assert len(everything) > len(help_page(COMMANDS["train"]))
    for name in ("on_nan_loss", "adam_beta1", "fsdp", "bucket_waste"):
        assert f"  --{name}" in everything


@pytest.mark.parametrize("command", COMMANDS.values(), ids=lambda command: command.name)
def test_a_page_explains_each_word_and_each_flag_once(command: Command) -> None:
    page = help_page(command, everything=True)
    entries = [line.split()[0].rstrip(",") for line in page.splitlines() if line.startswith("  --")]
    entries = [entry for entry in entries if not entry.startswith("--search_space=")]
    assert len(set(entries)) == len(entries)
    for one in declared_flags(*command.settings).values():
        assert not any(f"--{alias}" in one.help for alias in one.aliases)
        if one.kind.is_list and not one.repeated and one.name not in command.words:
            assert re.search(rf"^  --{one.name} [A-Z_]+\.\.\.$", page, re.MULTILINE)
    words = re.sub(r"--\w+ \w+", "", command.page.usage.strip().splitlines()[0])
    for word in {"FOLDER", "MODEL", "RUN"} & set(re.findall(r"\w+", words)):
        assert re.search(rf"^ +{word} (is|receives) ", page, re.MULTILINE), word


@pytest.mark.parametrize("name", ["train", "search", "predict"])
def test_a_file_with_every_flag_reads_back_to_the_same(name: str, tmp_path: Path) -> None:
    """Each flag gets a value that differs from its default if one is easy to make."""
    flags = declared_flags(*COMMANDS[name].settings)
    values = {one.name: _other_value(one) for one in flags.values()}
    path = tmp_path / "all.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    by_file = read_file(str(path), flags).values
    assert by_file == read_values(values, flags).values
    assert by_file.keys() == flags.keys()
    words = [word for one in flags.values() for word in _words(one, values[one.name])]
    assert read_words(words, flags).values == {key: value for key, value in by_file.items() if value is not None}


def _other_value(one: Flag) -> Any:
    if one.kind.choices:
        return one.kind.choices[-1]
    if one.kind.base is dict:
        return {"a": 1}
    if one.check is not None or one.default is None:
        return [one.default] if one.kind.is_list and isinstance(one.default, str) else one.default
    item: Any = {bool: not one.default, int: 3, float: 0.25, str: "word"}[one.kind.base]
    return [item, item] if one.kind.is_list else item


def _words(one: Flag, value: Any) -> list[str]:
    if value is None or value == []:
        return []
    texts = [json.dumps(item) if isinstance(item, dict) else _text(item) for item in _listed(value)]
    if one.repeated:
        return [word for text in texts for word in (f"--{one.name}", text)]
    return [f"--{one.name}={texts[0]}"] if len(texts) == 1 else [f"--{one.name}", *texts]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def test_the_table_of_transformers_flags_is_that_of_the_installed_version() -> None:
    """scripts/update-transformers-flags writes it again."""
    import transformers

    theirs = {one.name: one for one in dataclasses.fields(TheirArguments) if one.name != "parallelism_config"}
    table = declared_flags(transformers_flags.TransformersFlags)
    assert theirs.keys() <= table.keys()
    if transformers.__version__ == transformers_flags.VERSION:
        assert theirs.keys() == table.keys()
        for name, one in theirs.items():
            default = one.default if one.default is not dataclasses.MISSING else one.default_factory()  # type: ignore[misc]
            assert table[name].default == getattr(default, "value", default), name
        assert sorted(MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES) == sorted(transformers_flags.MODEL_TYPES)


def test_each_mistake_has_the_same_text_from_all_three_entrances(tmp_path: Path) -> None:
    base = {"output_dir": "out", "model_type": "tc_resnet"}
    words = ["--output_dir", "out", "--model_type", "tc_resnet"]
    for name, value, said in [
        ("lerning_rate", 1, "unknown flag --lerning_rate; did you mean --learning_rate?"),
        ("lr", 1, "unknown flag --lr; did you mean --learning_rate?"),
        ("model", "x", "unknown flag --model; did you mean --model_name_or_path?"),
        ("epochs", 3, "unknown flag --epochs; did you mean --num_train_epochs?"),
        ("batch_size", 8, "unknown flag --batch_size; did you mean --per_device_train_batch_size?"),
        ("learning_rate", "fast", "--learning_rate fast: expected a number"),
        ("learning_rate", -1, "--learning_rate -1: expected 0 or more"),
        ("seed", "1.5", "--seed 1.5: expected a whole number"),
        ("seed", -1, "--seed -1: expected a whole number from 0 to 4294967295"),
        ("fp16", "maybe", "--fp16 maybe: expected true or false"),
        ("eval_strategy", "often", "--eval_strategy often: expected no, steps or epoch"),
        ("max_grad_norm", "nan", "--max_grad_norm nan: expected 0 or more"),
        ("save_total_limit", -5, "--save_total_limit -5: expected a whole number of at least -1"),
        ("include_num_input_tokens_seen", "bogus", "--include_num_input_tokens_seen bogus: expected one of all, non_"),
        (
            "train_sampling_strategy",
            "group_by_length",
            "--train_sampling_strategy group_by_length: expected random or se",
        ),
        ("optim", "adamv", "--optim adamv: expected one of adamw_torch, "),
        ("fold", "1", "--fold has no effect without --fold_column or --folds. Add --fold_column or"),
        ("augment_noise", "x", "--augment_noise has no effect without --augment noise."),
    ]:
        path = tmp_path / "settings.yaml"
        path.write_text(yaml.safe_dump({**base, name: value}), encoding="utf-8")
        lines = []
        for entrance in (
            lambda name=name, value=value: parse_train([*words, f"--{name}", str(value)]),
            lambda path=path: parse_train(["--config", str(path)]),
            lambda name=name, value=value: from_keywords({**base, name: value}),
        ):
            with pytest.raises(UsageError) as caught:
                entrance()
            lines.append(str(caught.value).removeprefix(f"{path}: "))
        assert lines[0].startswith(said)
        assert lines == [lines[0]] * 3


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_grad_norm", math.inf),
        ("save_total_limit", 0),
        *(("include_num_input_tokens_seen", value) for value in ("all", "non_padding", "no", True, False)),
    ],
)
def test_unusual_values_that_make_sense_are_read_from_words_and_files(name: str, value: Any, tmp_path: Path) -> None:
    words = ["--output_dir", "o", "--model_type", "tc_resnet", f"--{name}", str(value)]
    settings = parse_train(words)
    assert getattr(settings.training, name) == value
    save_config(settings.to_dict(), tmp_path / "run.yaml")
    assert getattr(parse_train(["--config", str(tmp_path / "run.yaml")]).training, name) == value


def test_python_values_of_a_wrong_type_are_refused() -> None:
    for name, value, said in [
        ("learning_rate", [1], "--learning_rate 1: expected one value, found a list"),
        ("seed", 1.5, "--seed 1.5: expected a whole number"),
        ("seed", True, "--seed true: expected a whole number"),
        ("fp16", 2, "--fp16 2: expected true or false"),
        ("output_dir", ["a", "b"], "--output_dir a b: expected one value, found a list"),
        ("seed", None, "--seed null: expected a value"),
    ]:
        with pytest.raises(UsageError, match=f"^{said}"):
            from_keywords({"output_dir": "out", "model_type": "tc_resnet", name: value})
    with pytest.raises(UsageError, match=r"^unknown flag --lerning_rate; did you mean --learning_rate\?$"):
        from_keywords({"output_dir": "out", "model_type": "tc_resnet", "lerning_rate": 1})
    settings = from_keywords({"output_dir": Path("out"), "model_type": "tc_resnet", "data_dir": [Path("a"), Path("b")]})
    assert (settings.training.output_dir, settings.data.data_dir) == ("out", ["a", "b"])


def test_not_given_is_told_from_the_default() -> None:
    data = make_settings(DataArguments, read_values({"store": "int16"}, declared_flags(DataArguments)))
    assert (data.store, data.given, data.is_set("store")) == (DataArguments().store, {"store"}, True)
    assert not DataArguments().is_set("store")
    assert dataclasses.replace(data, validation_fraction=0.2).given == {"store"}


def test_whole_numbers_in_any_notation(tmp_path: Path) -> None:
    base = {"output_dir": "o", "model_type": "tc_resnet"}
    (tmp_path / "a.json").write_text(json.dumps({**base, "seed": 7.0, "max_steps": 1e3}), encoding="utf-8")
    (tmp_path / "a.yaml").write_text(yaml.safe_dump({**base, "seed": 7.0, "max_steps": 1e3}), encoding="utf-8")
    for settings in (
        parse_train(["--config", str(tmp_path / "a.json")]),
        parse_train(["--config", str(tmp_path / "a.yaml")]),
        from_keywords({**base, "seed": 7.0, "max_steps": 1e3}),
        parse_train(["--output_dir", "o", "--model_type", "tc_resnet", "--seed", "7.0", "--max_steps", "1e3"]),
    ):
        assert (settings.training.seed, settings.training.max_steps) == (7, 1000)
        assert type(settings.training.max_steps) is int


def test_a_flag_twice_takes_the_last_and_says_so() -> None:
    settings = parse_train(["--output_dir", "o", "--model_type", "tc_resnet", "--seed", "1", "--seed", "2"])
    assert settings.training.seed == 2
    assert settings.notes == ["--seed is given twice; the last value, 2, replaces 1"]
    assert not parse_train(["--output_dir", "o", "--model_type", "tc_resnet", "--seed", "1", "--seed", "1"]).notes


def test_kinds_of_small_classes() -> None:
    @dataclass
    class Small(Settings):
        count: int = flag(1, "Count.", check=at_least(1))
        names: list[str] = flag([], "Names.")
        mode: Literal["a", "b"] = flag("a", "Mode.")
        extra: dict[str, int] | None = flag(None, "Extra.")

    globals()["Small"] = Small  # annotations are resolved by name
    flags = declared_flags(Small)
    given = read_words(["--names", "x", "y", "--extra", '{"a": 1}', "--mode=b", "rest", "--", "--count"], flags)
    assert given.values == {"names": ["x", "y"], "extra": {"a": 1}, "mode": "b"}
    assert given.words == ["rest", "--count"]
    with pytest.raises(UsageError, match="--extra x: expected a JSON object"):
        read_words(["--extra", "x"], flags)
    with pytest.raises(UsageError, match="--count: expected a whole number after it"):
        read_words(["--count"], flags)


def test_early_errors_import_nothing_heavy(tmp_path: Path) -> None:
    for command in ("train", "search"):
        code = (
            f"import sys; from earmark.cli.main import main; code = main([{command!r}, '--data_dir', 'gone', "
            "'--model_type', 'tc_resnet', '--output_dir', 'out']); "
            "assert not {'torch', 'transformers', 'sklearn'} & set(sys.modules); sys.exit(code)"
        )
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 2, done.stderr
        assert done.stderr.strip() == "earmark: error: gone: no such folder. Fix the path."
    assert not list(tmp_path.iterdir())


def test_the_example_has_the_default_model_of_transformers_example() -> None:
    settings = parse_example(["--do_train", "--output_dir", "o"])
    assert settings.model.model_name_or_path == "facebook/wav2vec2-base"
    assert "facebook/wav2vec2-base" in settings.notes[0]


def test_other_names_are_of_flags_that_exist() -> None:
    known = {name for command in COMMANDS.values() for name in declared_flags(*command.settings)}
    assert set(_OTHER_NAMES) <= known


def test_a_model_type_of_another_version_of_transformers_is_left_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"^--model_type wavlm2: expected one of tc_resnet, .*; did you mean wavlm\?$"):
        ModelArguments(model_type="wavlm2")
    monkeypatch.setattr("earmark.settings.model_flags.VERSION", "5.0.0")
    assert ModelArguments(model_type="wavlm2").model_type == "wavlm2"


def test_the_last_of_two_configuration_files_is_used(tmp_path: Path) -> None:
    for name, seed in (("a.yaml", 1), ("b.yaml", 2)):
        (tmp_path / name).write_text(f"seed: {seed}\nmodel_type: tc_resnet\noutput_dir: out\n")
    settings = parse_train(["--config", str(tmp_path / "a.yaml"), "--config", str(tmp_path / "b.yaml")])
    assert settings.training.seed == 2
    assert settings.notes == [f"--config is given twice; the last value, {tmp_path}/b.yaml, replaces {tmp_path}/a.yaml"]


def test_values_of_python_keep_all_their_digits(tmp_path: Path) -> None:
    (tmp_path / "x.csv").touch()
    (entry,) = os.scandir(tmp_path)
    assert shown(1_234_567.0) == "1234567"
    assert shown(entry) == str(tmp_path / "x.csv")
