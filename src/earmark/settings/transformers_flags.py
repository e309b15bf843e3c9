"""The flags of Transformers' ``TrainingArguments``. Written by scripts/update-transformers-flags.

Names, types and defaults are those of Transformers 5.24.0; ``training_flags.py`` changes some defaults.
Edit help, check, scope, page and needs here: the script keeps them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from earmark.settings.flags import (
    BELOW_ONE,
    COUNT,
    HIDDEN,
    SEED,
    Scope,
    Settings,
    at_least,
    choice_among,
    flag,
    not_negative,
    within,
)

VERSION = "5.24.0"
MODEL_TYPES = (
    "audio-spectrogram-transformer",
    "data2vec-audio",
    "hubert",
    "sew",
    "sew-d",
    "unispeech",
    "unispeech-sat",
    "wav2vec2",
    "wav2vec2-bert",
    "wav2vec2-conformer",
    "wavlm",
    "whisper",
)  # of audio classifiers

_LR_SCHEDULER_TYPE = (
    "linear",
    "cosine",
    "cosine_with_restarts",
    "polynomial",
    "constant",
    "constant_with_warmup",
    "inverse_sqrt",
    "reduce_lr_on_plateau",
    "cosine_with_min_lr",
    "cosine_warmup_with_min_lr",
    "warmup_stable_decay",
    "greedy",
)
_OPTIM = (
    "adamw_torch",
    "adamw_torch_fused",
    "adamw_torch_xla",
    "adamw_torch_npu_fused",
    "adafactor",
    "adamw_anyprecision",
    "adamw_torch_4bit",
    "adamw_torch_8bit",
    "ademamix",
    "sgd",
    "adagrad",
    "adamw_bnb_8bit",
    "adamw_8bit",
    "ademamix_8bit",
    "lion_8bit",
    "lion_32bit",
    "paged_adamw_32bit",
    "paged_adamw_8bit",
    "paged_ademamix_32bit",
    "paged_ademamix_8bit",
    "paged_lion_32bit",
    "paged_lion_8bit",
    "rmsprop",
    "rmsprop_bnb",
    "rmsprop_bnb_8bit",
    "rmsprop_bnb_32bit",
    "galore_adamw",
    "galore_adamw_8bit",
    "galore_adafactor",
    "galore_adamw_layerwise",
    "galore_adamw_8bit_layerwise",
    "galore_adafactor_layerwise",
    "lomo",
    "adalomo",
    "grokadamw",
    "schedule_free_radam",
    "schedule_free_adamw",
    "schedule_free_sgd",
    "apollo_adamw",
    "apollo_adamw_layerwise",
    "stable_adamw",
)


@dataclass
class TransformersFlags(Settings, page=HIDDEN):
    """Flags of Transformers' trainer; flags without a ``page`` are shown by ``--help_all`` only."""

    output_dir: str | None = flag(
        None,
        "Run folder: model, labels, metrics, predictions, model card (required).",
        scope=Scope.MACHINE | Scope.TRAINING,
        page="output",
        metavar="DIR",
    )
    per_device_train_batch_size: int = flag(
        8, "Clips per batch on each device.", check=COUNT, scope=Scope.TRAINED, page="training"
    )
    num_train_epochs: float = flag(3.0, "Passes over the training clips.", scope=Scope.TRAINED, page="training")
    max_steps: int = flag(
        -1,
        "Number of optimizer steps, instead of epochs (default: no limit).",
        check=COUNT,
        scope=Scope.TRAINED,
        page="training",
    )
    learning_rate: float = flag(
        5e-05, "Peak learning rate.", check=not_negative(), scope=Scope.TRAINED, page="training"
    )
    lr_scheduler_type: str = flag(
        "linear",
        "Schedule of the learning rate after warm-up.",
        scope=Scope.TRAINED,
        page="training",
        metavar="NAME",
        check=choice_among(_LR_SCHEDULER_TYPE),
    )
    lr_scheduler_kwargs: str | dict[str, object] | None = flag(
        None, "Arguments of the schedule, a JSON object.", scope=Scope.TRAINED
    )
    warmup_steps: float = flag(
        0,
        "Warm-up to the peak rate: below 1 a fraction of all steps, else a number of steps.",
        check=not_negative(),
        scope=Scope.TRAINED,
        page="training",
    )
    optim: str = flag(
        "adamw_torch_fused",
        "Optimizer, by its name in Transformers.",
        scope=Scope.TRAINED,
        metavar="NAME",
        check=choice_among(_OPTIM),
    )
    optim_args: str | None = flag(None, "Arguments of the optimizer: name=value,name=value.", scope=Scope.TRAINED)
    weight_decay: float = flag(
        0.0, "Decoupled weight decay of AdamW.", check=not_negative(), scope=Scope.TRAINED, page="training"
    )
    adam_beta1: float = flag(0.9, "First beta of Adam.", check=BELOW_ONE, scope=Scope.TRAINED)
    adam_beta2: float = flag(0.999, "Second beta of Adam.", check=BELOW_ONE, scope=Scope.TRAINED)
    adam_epsilon: float = flag(1e-08, "Epsilon of Adam.", check=not_negative(), scope=Scope.TRAINED)
    optim_target_modules: str | list[str] | None = flag(
        None, "Names of the layers that GaLore, APOLLO and similar optimizers project.", scope=Scope.LEARNED
    )
    gradient_accumulation_steps: int = flag(
        1,
        "Batches per optimizer step; devices x batch x this = clips per step (published recipes: 128).",
        check=COUNT,
        scope=Scope.TRAINED,
        page="training",
    )
    average_tokens_across_devices: bool = flag(
        True, "Average token counts over devices; has no effect on audio classifiers."
    )
    max_grad_norm: float = flag(
        1.0,
        "Largest gradient norm; longer gradients are scaled down to it. 0 or inf: no limit.",
        check=within(0, float("inf"), "0 or more"),
        scope=Scope.TRAINED,
    )
    label_smoothing_factor: float = flag(
        0.0,
        "Fraction of each target that is spread over all classes; 0.1 is usual.",
        check=BELOW_ONE,
        scope=Scope.TRAINED,
        page="loss",
    )
    bf16: bool = flag(False, "Mixed precision in bfloat16.", scope=Scope.LEARNED, page="training")
    fp16: bool = flag(False, "Mixed precision in float16.", scope=Scope.LEARNED, page="training")
    bf16_full_eval: bool = flag(False, "Convert the model to bfloat16 for evaluation.")
    fp16_full_eval: bool = flag(False, "Convert the model to float16 for evaluation.")
    tf32: bool | None = flag(
        None, "Let matrix products on Ampere and newer GPUs use TF32 (default: torch's own).", scope=Scope.RESULT
    )
    activation_checkpointing: bool | None = flag(
        None, "Recompute activations in the backward pass, which saves memory and costs time."
    )
    activation_checkpointing_kwargs: str | dict[str, object] | None = flag(
        None, "arguments, a JSON object.", needs="activation_checkpointing, gradient_checkpointing"
    )
    gradient_checkpointing: bool | None = flag(None, "Older name of --activation_checkpointing.")
    gradient_checkpointing_kwargs: str | dict[str, object] | None = flag(
        None,
        "older name of --activation_checkpointing_kwargs.",
        needs="activation_checkpointing, gradient_checkpointing",
    )
    torch_compile: bool = flag(False, "Compile the model with torch.compile.", scope=Scope.RESULT)
    torch_compile_backend: str | None = flag(
        None, "Backend of torch.compile; implies --torch_compile.", scope=Scope.RESULT
    )
    torch_compile_mode: str | None = flag(None, "Mode of torch.compile; implies --torch_compile.", scope=Scope.RESULT)
    use_liger_kernel: bool = flag(False, "Use Liger kernels; they exist for language models.", scope=Scope.RESULT)
    liger_kernel_config: dict[str, object] | None = flag(
        None, "which Liger kernels to use, a JSON object.", scope=Scope.RESULT, needs="use_liger_kernel"
    )
    use_cache: bool = flag(False, "Use the model's cache; audio classifiers have none.")
    neftune_noise_alpha: float | None = flag(
        None, "Strength of NEFTune noise on embeddings of tokens.", scope=Scope.RESULT
    )
    torch_empty_cache_steps: int | None = flag(
        None, "Steps between two calls that empty the device's memory cache (default: never).", check=COUNT
    )
    auto_find_batch_size: bool = flag(
        False, "Halve the batch until it fits into the device's memory.", scope=Scope.RESULT
    )
    logging_strategy: Literal["no", "steps", "epoch"] = flag(
        "steps", "Log every epoch, every --logging_steps, or not at all."
    )
    logging_steps: float = flag(
        500, "Steps between two log lines; below 1: a fraction of all steps.", check=not_negative(), page="output"
    )
    logging_first_step: bool = flag(False, "Log the first step too.")
    log_on_each_node: bool = flag(True, "Log on each machine of a distributed run, not only on the first.")
    logging_nan_inf_filter: bool = flag(True, "Leave NaN and infinite losses out of the logged mean.")
    include_num_input_tokens_seen: bool | str = flag(
        "no",
        "Count input tokens while training: all, or non_padding only.",
        check=choice_among(("all", "non_padding", "no", "true", "false")),
        metavar="WHICH",
    )
    log_level: Literal["detail", "debug", "info", "warning", "error", "critical", "passive"] = flag(
        "passive", "Log level of Transformers on the main process.", scope=Scope.MACHINE
    )
    log_level_replica: Literal["detail", "debug", "info", "warning", "error", "critical", "passive"] = flag(
        "warning", "Log level of Transformers on the other processes.", scope=Scope.MACHINE
    )
    disable_tqdm: bool | None = flag(None, "Hide progress bars.", scope=Scope.MACHINE | Scope.ONCE)
    report_to: str | list[str] | None = flag(
        "none",
        "Trackers that receive the metrics: tensorboard, wandb, swanlab, mlflow, ...",
        scope=Scope.MACHINE,
        page="output",
        metavar="NAME",
    )
    run_name: str | None = flag(None, "Name of the run in trackers.", scope=Scope.MACHINE)
    project: str = flag("huggingface", "project.", needs="report_to=trackio, report_to=all")
    trackio_space_id: str | None = flag(
        None, "space on the hub that shows the run.", needs="report_to=trackio, report_to=all"
    )
    trackio_bucket_id: str | None = flag(
        None, "bucket on the hub that stores the run.", needs="report_to=trackio, report_to=all"
    )
    trackio_static_space_id: str | None = flag(
        None, "static space on the hub that shows the run; false: none.", needs="report_to=trackio, report_to=all"
    )
    eval_strategy: Literal["no", "steps", "epoch"] = flag(
        "no", "Evaluate every epoch, every --eval_steps, or not at all.", scope=Scope.RESULT, page="training"
    )
    eval_steps: float | None = flag(None, "Steps between two evaluations.", check=not_negative(), scope=Scope.RESULT)
    eval_delay: float = flag(
        0, "Epochs or steps before the first evaluation.", check=not_negative(), scope=Scope.RESULT
    )
    per_device_eval_batch_size: int = flag(
        8, "Clips per batch on each device, in evaluation.", check=COUNT, page="training"
    )
    prediction_loss_only: bool = flag(False, "Compute only the loss in evaluation.")
    eval_on_start: bool = flag(False, "Evaluate once before training.")
    eval_do_concat_batches: bool = flag(True, "Join the results of evaluation batches.")
    eval_use_gather_object: bool = flag(False, "Gather nested results of evaluation from all devices.")
    eval_accumulation_steps: int | None = flag(
        None, "Evaluation batches whose results stay on the device before they are moved.", check=COUNT
    )
    include_for_metrics: list[str] = flag(
        [], "Inputs that Transformers' metric functions receive; earmark's need none."
    )
    batch_eval_metrics: bool = flag(False, "Compute Transformers' metric functions batch by batch.")
    save_only_model: bool = flag(False, "Save checkpoints without the optimizer's state; they cannot be resumed.")
    save_strategy: Literal["no", "steps", "epoch", "best"] = flag(
        "steps",
        "Save a checkpoint every epoch, every --save_steps, of the best model, or not at all.",
        scope=Scope.RESULT,
    )
    save_steps: float = flag(500, "Steps between two checkpoints.", check=not_negative(), scope=Scope.RESULT)
    save_on_each_node: bool = flag(False, "Save checkpoints on each machine of a distributed run.")
    save_total_limit: int | None = flag(
        None, "Number of checkpoints to keep, the best one among them; 0 or -1: all.", check=at_least(-1), page="output"
    )
    enable_jit_checkpoint: bool = flag(
        False, "Let Transformers save a checkpoint on SIGTERM; earmark does so without it."
    )
    push_to_hub: bool = flag(False, "Upload the model, to --hub_model_id NAME.", page="output")
    hub_token: str | None = flag(
        None, "Token for uploads (default: that of `hf auth login`).", scope=Scope.SECRET | Scope.MACHINE
    )
    hub_private_repo: bool | None = flag(
        None, "make a private repository (default: the setting of your organisation).", needs="push_to_hub"
    )
    hub_model_id: str | None = flag(None, "name of the repository: ORG/NAME.", needs="push_to_hub")
    hub_strategy: Literal["end", "every_save", "checkpoint", "all_checkpoints"] = flag(
        "every_save", "what is uploaded, and when.", needs="push_to_hub"
    )
    hub_always_push: bool = flag(False, "upload even if the previous upload is still running.", needs="push_to_hub")
    hub_revision: str | None = flag(None, "branch to upload to.", needs="push_to_hub")
    load_best_model_at_end: bool = flag(False, "Keep the best model, not the last.", scope=Scope.RESULT)
    metric_for_best_model: str | None = flag(
        None, "Metric that chooses the best model, which is kept.", scope=Scope.RESULT, page="training", metavar="NAME"
    )
    greater_is_better: bool | None = flag(
        None,
        "Whether higher values of --metric_for_best_model are better (default: as the metric is defined).",
        scope=Scope.RESULT,
    )
    ignore_data_skip: bool = flag(
        False,
        "Start a resumed epoch at its first batch instead of skipping the batches that were trained on.",
        scope=Scope.RESULT,
    )
    restore_callback_states_from_checkpoint: bool = flag(False, "Restore the state of callbacks when a run is resumed.")
    full_determinism: bool = flag(
        False, "Make torch use deterministic kernels only, which is slower.", scope=Scope.RESULT
    )
    seed: int = flag(
        42,
        "Seed of the head's weights, of the order of the clips and of a split that earmark makes.",
        check=SEED,
        scope=Scope.RESULT | Scope.SPLITS,
        page="training",
    )
    data_seed: int | None = flag(
        None, "Seed of the order of the clips (default: --seed).", check=SEED, scope=Scope.RESULT
    )
    use_cpu: bool = flag(False, "Train on the CPU; --device cpu does the same.", scope=Scope.ONCE | Scope.MACHINE)
    accelerator_config: str | dict[str, object] | None = flag(
        None, "Settings of Accelerate, a JSON object or file.", scope=Scope.RESULT
    )
    dataloader_drop_last: bool = flag(
        False, "Leave out the last batch of an epoch if it is not full.", scope=Scope.RESULT
    )
    dataloader_num_workers: int = flag(
        0, "Extra processes that make batches.", check=not_negative(), scope=Scope.MACHINE, page="training"
    )
    dataloader_pin_memory: bool = flag(True, "Copy batches to the device from pinned memory.", scope=Scope.MACHINE)
    dataloader_persistent_workers: bool = flag(
        False,
        "keep the processes that make batches between epochs.",
        scope=Scope.MACHINE,
        needs="dataloader_num_workers",
    )
    dataloader_prefetch_factor: int | None = flag(
        None,
        "batches that each process makes ahead.",
        check=COUNT,
        scope=Scope.MACHINE,
        needs="dataloader_num_workers",
    )
    dataloader_multiprocessing_context: Literal["fork", "spawn", "forkserver"] | None = flag(
        None,
        "start method of the processes (default: the system's).",
        scope=Scope.MACHINE,
        needs="dataloader_num_workers",
    )
    dataloader_in_order: bool = flag(True, "Give batches in the order of the sampler.", scope=Scope.RESULT)
    remove_unused_columns: bool = flag(
        True, "Drop columns that the model's forward does not name; earmark has no such columns."
    )
    label_names: list[str] | None = flag(None, "Keys of the model's inputs that are labels.")
    train_sampling_strategy: Literal["random", "sequential", "group_by_length", "batch_rebalance"] = flag(
        "random",
        "Order of the training clips; --bucket_waste makes batches of clips of similar length.",
        scope=Scope.RESULT,
    )
    length_column_name: str = flag("length", "Column with the length of each row; earmark measures lengths itself.")
    ddp_find_unused_parameters: bool | None = flag(
        None, "Let DistributedDataParallel look for parameters without a gradient."
    )
    ddp_bucket_cap_mb: int | None = flag(
        None, "Size of the gradient buckets of DistributedDataParallel, in megabytes.", check=COUNT
    )
    ddp_broadcast_buffers: bool | None = flag(None, "Let DistributedDataParallel broadcast buffers.")
    ddp_static_graph: bool | None = flag(None, "Tell DistributedDataParallel that the graph does not change.")
    ddp_backend: Literal["nccl", "gloo", "mpi", "xccl", "hccl", "cncl", "mccl"] | None = flag(
        None, "Backend of distributed training (default: that of the device)."
    )
    ddp_timeout: int = flag(1800, "Seconds that a rank waits for the others.", check=COUNT)
    fsdp: str | bool | None = flag(
        None,
        "Shard the model over the devices with FSDP: full_shard, shard_grad_op, ...",
        scope=Scope.RESULT | Scope.EPOCHS,
        metavar="HOW",
    )
    fsdp_config: str | dict[str, object] | None = flag(
        None, "settings of FSDP, a JSON object or file.", scope=Scope.MACHINE, metavar="FILE", needs="fsdp"
    )
    deepspeed: str | dict[str, object] | None = flag(
        None,
        "Settings of DeepSpeed, a JSON object or file.",
        scope=Scope.RESULT | Scope.MACHINE | Scope.EPOCHS,
        metavar="FILE",
    )
    debug: str | list[str] = flag("", "Debug features of Transformers: underflow_overflow.", metavar="FEATURE")
    skip_memory_metrics: bool = flag(True, "Leave the memory use out of the metrics.")
    do_train: bool = flag(False, "Train (run_audio_classification.py only).")
    do_eval: bool = flag(False, "Evaluate (run_audio_classification.py only).")
    do_predict: bool = flag(
        False, "Accepted for old command lines: a test split is scored after training if there is one."
    )
    resume_from_checkpoint: str | None = flag(
        None, "Checkpoint folder to resume from.", scope=Scope.ONCE | Scope.MACHINE, page="output", metavar="DIR"
    )
    local_rank: int = flag(-1, "Rank on this machine, as old launchers give it.", scope=Scope.ONCE | Scope.MACHINE)
