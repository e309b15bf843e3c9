"""A model, recordings, and the page's real server in a thread."""

from __future__ import annotations

import csv
import io
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from earmark.http.lifecycle import Lifecycle
from earmark.http.listen import bind, listen
from earmark.label.serving import label_server
from earmark.label.session import Session
from earmark.label.start_labelling import prepare
from earmark.models.build_model import ModelSource, build_for_training
from earmark.settings.labelling_flags import LabelOptions
from tests.browser import watch
from tests.patience import PATIENCE_S, give_servers_time, read_certificates_once
from tests.tiny import RATE_HZ, overrides, save_model, tone

give_servers_time()
read_certificates_once()

TOKEN = "0123456789abcdef"
IDLE = "html:not(.busy)"  # the page ignores keys until then
Open = Callable[..., Any]


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Classes high, low and mid."""
    return save_model(tmp_path_factory.mktemp("labelling_model"), 1.0)


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    """Eight recordings without labels and one that is none."""
    folder = tmp_path / "pool"
    (folder / "deep").mkdir(parents=True)
    for i in range(8):
        place = folder / "deep" if i % 2 else folder
        soundfile.write(place / f"{i}.wav", tone(200 * 1.5**i, 0.4, seed=i), RATE_HZ)
    (folder / "broken.wav").write_bytes(b"no sound at all")
    return folder


@dataclass
class Labelling:
    """A server and what it works on."""

    url: str
    folder: Path
    session: Session

    @property
    def address(self) -> str:
        """What the terminal shows."""
        return f"{self.url}/#{TOKEN}"

    def labels(self) -> str:
        path = self.folder / "labels.csv"
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def aside(self) -> str:
        path = self.folder / "set_aside.csv"
        return path.read_text(encoding="utf-8") if path.exists() else ""


def decided(labelling: Labelling) -> dict[str, str]:
    """File name to label."""
    return {Path(row["path"]).name: row["label"] for row in csv.DictReader(io.StringIO(labelling.labels()))}


Start = Callable[..., Labelling]


@pytest.fixture
def start(model: Path, tmp_path: Path) -> Iterator[Start]:
    """Starts servers in threads; they end with the test."""
    ends: list[tuple[Lifecycle, threading.Thread]] = []

    def start_server(*inputs: Path, **settings: object) -> Labelling:
        folder = tmp_path / "the labels"  # paths with blanks are paths
        folder.mkdir(exist_ok=True)
        given = {"model_name_or_path": str(model), "output_dir": str(folder), "device": "cpu", **settings}
        options = LabelOptions(inputs=[str(path) for path in inputs], **given)  # type: ignore[arg-type]
        session = prepare(options, folder)
        listener = bind("127.0.0.1", 0, "")
        listen(listener, "")
        lifecycle = Lifecycle(1.0)
        server = label_server(session, TOKEN, lifecycle)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        ends.append((lifecycle, thread))
        return Labelling(f"http://127.0.0.1:{listener.getsockname()[1]}", folder, session)

    yield start_server
    for lifecycle, thread in ends:
        lifecycle.drain()
        thread.join(PATIENCE_S)


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.3, 0.3, round(seconds * RATE_HZ)).astype(np.float32)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A Whisper encoder with random weights: its log-mel frames tell tones apart."""
    torch.manual_seed(0)
    source = ModelSource(model_type="whisper", config_overrides=overrides("whisper"))
    build_for_training(source, ["a", "b"], 0.5, longest_s=0.5).save(tmp_path / "base")
    return tmp_path / "base"


@pytest.fixture
def visit(browser: Any) -> Iterator[Open]:
    """Opens pages; a fault in their script or a request to elsewhere fails the test."""
    contexts, faults = [], []

    def open_page(labelling: Labelling, **settings: Any) -> Any:
        context = browser.new_context(locale="en-GB", **settings)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(1000 * PATIENCE_S)
        faults.append(watch(page, labelling.url, "blob:", "data:", console="Content Security Policy"))
        page.goto(labelling.address)
        page.wait_for_selector("#picture canvas, #done:not([hidden]), #error:not(:empty)")
        page.wait_for_selector(IDLE)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not any(faults), faults
