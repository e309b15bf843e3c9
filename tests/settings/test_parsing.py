"""The command line and the files of training, and what an older command line becomes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from earmark.device import Abilities
from earmark.distributed.launched import launched_processes
from earmark.errors import DataError, DeviceError, UsageError
from earmark.settings.config_files import resolved_config, save_config
from earmark.settings.train_settings import TrainSettings, check_sources, evaluation_options, parse_example, parse_train
from earmark.train.arguments import EarmarkTrainingArguments
from earmark.train.plan import FolderState, make_plan
from earmark.train.start_ranks import start_ranks
from tests.settings.command_words import write

# The command line of the Ascend port of Transformers' example, word for word.
SEED = """--model_name_or_path facebook/wav2vec2-base --dataset_name superb --dataset_config_name ks
--remove_unused_columns False --do_train --do_eval --learning_rate 3e-5 --max_length_seconds 1
--attention_mask False --warmup_ratio 0.1 --num_train_epochs 5 --per_device_train_batch_size 32
--gradient_accumulation_steps 4 --per_device_eval_batch_size 32 --dataloader_num_workers 4
--logging_strategy steps --logging_steps 10 --evaluation_strategy epoch --save_strategy epoch
--load_best_model_at_end True --metric_for_best_model accuracy --save_total_limit 3 --seed 0
--overwrite_output_dir --output_dir ./output"""
APEX = "--fp16 --fp16_opt_level O1 --half_precision_backend apex --loss_scale 16"
MINIMAL = ["--output_dir", "out", "--model_type", "tc_resnet"]


def config(settings: TrainSettings) -> dict[str, object]:
    return resolved_config(settings.data, settings.model, settings.run, settings.training)


def test_the_seed_command_line_word_for_word() -> None:
    settings = parse_example(SEED.split())
    data, model, run, training = settings.data, settings.model, settings.run, settings.training
    assert (data.dataset_name, data.dataset_config_name, data.max_length_seconds) == ("superb", "ks", 1.0)
    assert (model.model_name_or_path, model.attention_mask) == ("facebook/wav2vec2-base", False)
    assert (run.overwrite_output_dir, training.output_dir) == (True, "./output")
    assert (training.do_train, training.do_eval, training.remove_unused_columns) == (True, True, False)
    assert (training.learning_rate, training.warmup_steps, training.num_train_epochs) == (3e-5, 0.1, 5.0)
    assert (training.per_device_train_batch_size, training.gradient_accumulation_steps) == (32, 4)
    assert (training.per_device_eval_batch_size, training.dataloader_num_workers) == (32, 4)
    assert (training.logging_strategy, training.logging_steps) == ("steps", 10)
    assert (training.eval_strategy, training.save_strategy, training.save_total_limit) == (
        "epoch",
        "epoch",
        3,
    )
    assert (training.load_best_model_at_end, training.metric_for_best_model) == (True, "accuracy")
    assert (training.seed, training.fp16) == (0, False)
    assert EarmarkTrainingArguments.of(training, use_cpu=True).get_warmup_steps(1000) == 100
    assert [note.split()[0].rstrip(":") for note in settings.notes] == [
        "--warmup_ratio",
        "--evaluation_strategy",
        "--overwrite_output_dir",
    ]


def test_the_apex_command_line_with_the_conformer() -> None:
    words = f"{SEED} {APEX}".replace("wav2vec2-base", "wav2vec2-conformer-rel-pos-large").split()
    settings = parse_example(words)
    assert settings.model.model_name_or_path == "facebook/wav2vec2-conformer-rel-pos-large"
    assert settings.training.fp16 is True
    assert len(settings.notes) == 6


def test_values_joined_with_an_equals_sign_and_hyphens() -> None:
    words = ["--output-dir=out", "--model_type=tc_resnet", "--num-train-epochs=2", "--attention_mask=false"]
    settings = parse_train(words)
    assert (settings.training.output_dir, settings.training.num_train_epochs) == ("out", 2.0)
    assert settings.model.attention_mask is False


def test_defaults_differ_from_transformers_where_documented() -> None:
    training = EarmarkTrainingArguments.of(parse_train(MINIMAL).training, use_cpu=True)
    assert training.learning_rate is None
    assert (training.warmup_steps, training.logging_steps, training.save_total_limit) == (0.1, 10, 2)
    assert (training.eval_strategy, training.save_strategy) == ("epoch", "epoch")
    assert training.load_best_model_at_end is True
    assert (training.metric_for_best_model, training.greater_is_better) == ("accuracy", True)
    assert (training.per_device_train_batch_size, training.per_device_eval_batch_size) == (32, 32)
    assert (training.remove_unused_columns, training.logging_nan_inf_filter) == (False, False)
    assert training.report_to == []
    assert (training.do_train, training.do_eval) == (True, True)


@pytest.mark.parametrize(
    ("words", "save_strategy", "save_steps", "eval_steps", "best"),
    [
        ("--eval_strategy steps --eval_steps 50", "steps", 50, 50, True),
        ("--eval_strategy steps --eval_steps 50 --save_steps 100", "steps", 100, 50, False),
        ("--eval_strategy steps", "steps", 500, 500, True),
        ("--eval_strategy no", "epoch", 500, None, False),
        ("--save_strategy steps", "steps", 500, None, False),
        ("--save_strategy best", "best", 500, None, True),
        ("--load_best_model_at_end False", "epoch", 500, None, False),
    ],
)
def test_saving_follows_evaluating(
    words: str, save_strategy: str, save_steps: int, eval_steps: int | None, best: bool
) -> None:
    training = parse_train([*MINIMAL, *words.split()]).training
    assert (training.save_strategy, training.save_steps, training.eval_steps) == (
        save_strategy,
        save_steps,
        eval_steps,
    )
    assert training.load_best_model_at_end is best


def test_words_that_older_versions_took() -> None:
    words = ["--local_rank=0", "--gradient_checkpointing", "--max_steps", "-1", "--augment", "gain"]
    words += ["--augment_gain_db", "-6,0"]
    training = parse_train([*MINIMAL, *words, "--report_to", "tensorboard", "trackio"]).training
    assert training.gradient_checkpointing is True
    assert (training.augment_gain_db, training.max_steps) == ("-6,0", -1)
    assert training.report_to == ["tensorboard", "trackio"]


def test_the_cpu_reaches_transformers_in_time() -> None:
    settings = parse_train([*MINIMAL, "--device", "cpu", "--bf16"])  # bf16 without a GPU needs use_cpu
    assert start_ranks(settings).device.type == "cpu"
    training = EarmarkTrainingArguments.of(make_plan(settings, FolderState(), Abilities("cpu")).training)
    assert training.use_cpu is True
    assert training.device.type == "cpu"
    assert parse_train([*MINIMAL, "--use_cpu"]).run.device == "cpu"


def test_defaults_file_flags(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "model_type: tc_resnet\noutput_dir: out\nseed: 7\nlearning_rate: 3e-5\nfp16: true\n"
        "eval_strategy: no\nsave_total_limit: null\nreport_to: [tensorboard, trackio]\n"
        "config_overrides: {hidden_size: 32}\nlr_scheduler_kwargs: {num_cycles: 0.5}\n"
        "attention-mask: false\n",
    )
    settings = parse_train(["--seed", "8", "--config", path, "--fp16", "false"])
    training = settings.training
    assert (training.seed, training.fp16, training.learning_rate) == (8, False, 3e-5)
    assert (training.eval_strategy, training.save_total_limit) == ("no", None)
    assert training.report_to == ["tensorboard", "trackio"]
    assert json.loads(settings.model.config_overrides or "") == {"hidden_size": 32}
    assert training.lr_scheduler_kwargs == {"num_cycles": 0.5}
    assert settings.model.attention_mask is False


def test_a_json_argument_file_as_before_and_with_flags_behind_it(tmp_path: Path) -> None:
    arguments = {
        "model_name_or_path": "facebook/wav2vec2-base",
        "output_dir": "out",
        "do_train": True,
        "evaluation_strategy": "no",
        "warmup_ratio": 0.1,
        "warmup_steps": 0,
        "attention_mask": False,
        "save_total_limit": 3,
    }
    path = write(tmp_path, json.dumps(arguments), "args.json")
    settings = parse_example([path])
    assert (settings.training.do_train, settings.training.warmup_steps) == (True, 0.1)
    assert (settings.training.eval_strategy, settings.model.attention_mask) == ("no", False)
    assert settings.notes[0] == f"{path}: --evaluation_strategy is read as --eval_strategy"
    assert parse_example([path, "--save_total_limit", "1"]).training.save_total_limit == 1


def test_the_resolved_settings_read_back_to_the_same(tmp_path: Path) -> None:
    secret = ["--token", "hf_one", "--hub_token", "hf_two", "--use_auth_token", "hf_one"]
    words = [*SEED.split(), *secret, "--silence_percentage", "10", "--save_strategy", "best"]
    first = config(parse_example(words))
    path = tmp_path / "config.yaml"
    save_config(first, path)
    assert "hf_" not in path.read_text()
    assert not {"overwrite_output_dir", "local_rank", "use_cpu"} & set(first)
    assert config(parse_train(["--config", str(path)])) == first
    json_path = write(tmp_path, json.dumps(first), "config.json")
    assert config(parse_train(["--config", json_path])) == first


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--lerning_rate 3", "unknown flag --lerning_rate; did you mean --learning_rate?"),
        ("--learning-rat=3", "unknown flag --learning-rat; did you mean --learning_rate?"),
        ("--data recordings", "unknown flag --data; did you mean --data_dir?"),
        ("--output=run", "unknown flag --output; did you mean --output_dir?"),
        ("--xyzzy", "unknown flag --xyzzy"),
        ("-x", "unknown flag -x"),
        ("-seed 1", "unknown flag -seed; did you mean --seed?"),
        ("-seed=5", "unknown flag -seed; did you mean --seed?"),
        ("---seed 1", "unknown flag ---seed; did you mean --seed?"),
        ("--seed=", "--seed '': expected a whole number"),
        ("--config --seed 1", "--config: expected one value after it"),
        (
            "--save_strategy steps --save_steps 0",
            "--save_steps 0: expected a number above 0 with --save_strategy steps",
        ),
        (
            '--deepspeed {"zero_optimization":[1]}',
            "whose zero_optimization, if given, is an object",
        ),
        ("--lr_scheduler_kwargs {bad", "--lr_scheduler_kwargs {bad: expected a JSON object"),
        ("--weight_decay nan", "--weight_decay nan: expected 0 or more"),
        ("--num_train_epoch 3", "unknown flag --num_train_epoch; did you mean --num_train_epochs?"),
        ("word", "unexpected word 'word'"),
        ("--num_train_epochs many", "--num_train_epochs many: expected a number"),
        ("--seed 1.5", "--seed 1.5: expected a whole number"),
        ("--seed", "--seed: expected a whole number after it"),
        ("--fp16 maybe", "--fp16 maybe: expected true or false"),
        ("--on_bad_audio ignore", "--on_bad_audio ignore: expected fail or skip"),
        ("--save_strategy often", "--save_strategy often: expected no, steps, epoch or best"),
        ("--fp16 --bf16 --device cpu", "--bf16 and --fp16 contradict each other"),
        (
            "--load_best_model_at_end --save_strategy steps",
            "--eval_strategy is epoch, --save_strategy steps. Give both the same value",
        ),
        ("--warmup_steps -1", "--warmup_steps -1: expected 0 or more"),
        (
            "--model_name_or_path x",
            "--model_name_or_path x and --model_type tc_resnet contradict each other. Keep one of them.",
        ),
        ("--use_cpu --device cuda", "--use_cpu and --device cuda contradict each other"),
        ("--freeze last", "--freeze last: expected none"),
        ("--config none.yaml", "none.yaml: cannot read this configuration file (No such file or directory)"),
    ],
)
def test_mistakes_are_one_line(words: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_train([*MINIMAL, *words.split()])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_steps_that_a_strategy_ignores_may_be_0() -> None:
    for words in (["--save_steps", "0", "--eval_steps", "0"], ["--logging_strategy", "no", "--logging_steps", "0"]):
        parse_train([*MINIMAL, *words])


@pytest.mark.parametrize(("number", "rank", "launched"), [("2", None, 1), ("", "0", 1), ("2", "0", 2), (None, None, 1)])
def test_only_numbered_processes_are_launched_ones(
    number: str | None, rank: str | None, launched: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("WORLD_SIZE", number), ("LOCAL_RANK", rank)):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    assert launched_processes() == launched


def test_the_trainer_counts_the_processes_that_accelerate_has_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = EarmarkTrainingArguments.of(parse_train([*MINIMAL, "--device", "cpu", "--use_cpu"]).training)
    assert arguments.device.type == "cpu"
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert arguments.world_size == 1


def test_a_backend_that_cannot_join_processes() -> None:
    settings = parse_train([*MINIMAL, "--device", "cpu", "--ddp_backend", "gloo"])
    with pytest.raises(UsageError, match=r"the process group cannot be started .* Leave --ddp_backend out"):
        start_ranks(settings)


def test_variables_of_a_launcher_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(UsageError, match="Start earmark without a launcher, after `unset LOCAL_RANK"):
        start_ranks(parse_train([*MINIMAL, "--device", "cpu"]))


@pytest.mark.parametrize(("word", "value"), [("on", True), ("off", False), ("Yes", True), ("n", False)])
def test_words_for_true_and_false(word: str, value: bool) -> None:
    assert parse_train([*MINIMAL, "--logging_first_step", word]).training.logging_first_step is value


def test_a_second_run_of_a_process_finds_its_own_device() -> None:
    start_ranks(parse_train([*MINIMAL, "--device", "cpu"]))
    assert start_ranks(parse_train([*MINIMAL, "--device", "cpu:0"])).device.type == "cpu"


def test_what_a_training_needs() -> None:
    with pytest.raises(UsageError, match=r"no output folder\. Add --output_dir"):
        parse_train(["--model_type", "tc_resnet"])
    with pytest.raises(UsageError, match=r"no model\. Add --model_name_or_path"):
        parse_train(["--output_dir", "out"])
    with pytest.raises(UsageError, match=r"nothing to do\. Add --do_train"):
        parse_example(MINIMAL)
    settings = parse_train([*MINIMAL, "--device", "toaster"])
    with pytest.raises(DeviceError, match="not a device"):
        start_ranks(settings)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lerning_rate: 1\n", "unknown flag --lerning_rate; did you mean --learning_rate?"),
        ("seed: [1, 2]\n", "--seed 1 2: expected one value, found a list"),
        ("report_to: [{a: 1}]\n", "expected one value, found a mapping"),
        ("model_name_or_path: {a: 1}\n", "expected one value, found a mapping"),
        ("evaluation_strategy: [no]\n", "--evaluation_strategy no: expected one value, found a list"),
        ("weight_decay: null\n", "--weight_decay null: expected a value"),
        ("num_train_epochs: many\n", "--num_train_epochs many: expected a number"),
        ("eval_strategy: off\n", "--eval_strategy off: expected no, steps or epoch"),
        ("warmup_ratio: 2\n", "--warmup_ratio 2: expected a fraction"),
        ("evaluation_strategy: no\neval_strategy: epoch\n", "contradict each other"),
    ],
)
def test_mistakes_in_a_file_name_it(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(UsageError) as caught:
        parse_train([*MINIMAL, "--config", path])
    assert str(caught.value).startswith(path)
    assert message in str(caught.value)
    assert str(caught.value).count(path) == 1


def test_an_empty_list_in_a_file_means_none(tmp_path: Path) -> None:
    path = write(tmp_path, "report_to: []\ndebug: []\n")
    training = parse_train([*MINIMAL, "--config", path]).training
    assert (training.report_to, training.debug) == ([], [])


def test_evaluation_alone_through_the_old_command_line() -> None:
    words = ["--do_eval", "--model_name_or_path=m", "--data_dir=d", "--output_dir=o", "--seed=3"]
    more = ["--eval_split_name=test", "--per_device_eval_batch_size=4", "--metric=accuracy"]
    settings = parse_example([*words, *more])
    assert (settings.training.do_train, settings.training.do_eval) == (False, True)
    options = evaluation_options(settings)
    assert (options.model_name_or_path, options.data_dir, options.output_dir) == ("m", "d", "o")
    assert (options.eval_split_name, options.seed, options.metric) == ("test", 3, "accuracy")
    assert (options.per_device_eval_batch_size, options.split) == (4, "validation")
    assert not options.is_set("label_column_name")
    assert evaluation_options(parse_example([*words, "--label_column_name=label"])).is_set("label_column_name")


def test_what_was_probably_meant_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recordings").mkdir()
    given = ["--model_type", "tc_resnet", "--output_dir", "run"]
    with pytest.raises(UsageError, match="write --data_dir recordings"):
        parse_train(["recordings", *given])
    with pytest.raises(DataError, match=r"^recrdings: no such folder; did you mean recordings\?"):
        check_sources(parse_train(["--data_dir", "recrdings", *given]).data)
    (tmp_path / "nested.yaml").write_text("training:\n  seed: 3\n")
    with pytest.raises(UsageError, match=r"--training: settings are not nested\. Write them without training:"):
        parse_train(["--config", "nested.yaml", *given])
