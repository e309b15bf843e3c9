"""Find the device of a training process and, under a launcher, start the process group."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from earmark.device import Abilities, abilities, select_device
from earmark.distributed.process_group import start_process_group
from earmark.distributed.ranks import rank_and_world
from earmark.errors import UsageError
from earmark.settings.train_settings import TrainSettings
from earmark.threads import watch

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ranks:
    """The device of this process, and the number of training processes.

    Attributes:
        device: abilities of the device.
        world_size: number of training processes.
    """

    device: Abilities
    world_size: int


def start_ranks(settings: TrainSettings) -> Ranks:
    """Find the device of this process and, under a launcher, start the process group.

    Raises:
        DeviceError: the device does not exist.
        UsageError: ``--device`` names another card than the one that the launcher assigns to this process, or the
            process group cannot use ``--ddp_backend``.
    """
    name, training = settings.run.device, settings.training
    device = select_device("cpu" if training.use_cpu else name)
    if device.type == "cpu":
        logger.info("threads: %s", watch.describe())
    used = start_process_group(device, training.ddp_backend, training.ddp_timeout)
    if ":" in name and used != f"{device.type}:{device.index or 0}":
        raise UsageError(
            f"--device {name}: training uses {used}. Choose the card with ASCEND_RT_VISIBLE_DEVICES or "
            "CUDA_VISIBLE_DEVICES, or start one process for each card with torchrun."
        )
    return Ranks(abilities(device), rank_and_world()[1])
