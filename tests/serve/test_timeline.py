"""``/v1/timeline`` and the hints of refusals, without a server process."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from fastapi import HTTPException

import earmark
from earmark.cli.serve_command import _greet
from earmark.http.listen import page_address
from earmark.serve.batching import Batcher
from earmark.serve.decode_request import DecodeLimits, iter_windows
from earmark.serve.forms import Question, read_question
from earmark.serve.timelines import score_timeline
from tests.serve.test_classify import encoded
from tests.tiny import tone

LIMITS = DecodeLimits(60.0, 60.0)


@pytest.fixture
def batcher(classifier: earmark.Classifier) -> Iterator[Batcher]:
    made = Batcher(classifier.logits, batch_size=8, delay_s=0.0, observe=lambda *numbers: None)
    yield made
    made.stop()


def test_background_classes_have_no_segments_unless_they_are_asked_for(
    classifier: earmark.Classifier, batcher: Batcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classifier, "background_classes", ["mid"])
    data = encoded(np.concatenate([tone(pitch, 1.0) for pitch in (200, 900, 4000)]), "WAV")

    def labels(**settings: object) -> set[str]:
        question = Question(data, {"threshold": 0.01, **settings})
        answer = score_timeline(question, classifier, batcher, LIMITS, threading.Event())
        assert answer["recording_rate_hz"] == 16_000
        assert answer["omitted_classes"] == ([] if settings else ["mid"])
        return {one["label"] for one in answer["segments"]}

    assert labels() == {"high", "low"}
    assert labels(include_background="true") == labels(include_background=True) == {"high", "low", "mid"}
    with pytest.raises(HTTPException, match="include_background: not a boolean"):
        labels(include_background="maybe")


@pytest.mark.parametrize(
    ("body", "content_type", "hint"),
    [
        (b"recordings/tape.wav", "application/x-www-form-urlencoded", "The body is text. Send the bytes"),
        (b"tape.wav\n", "", "The body is text. Send the bytes"),
        (bytes(range(256)) * 40, "application/x-www-form-urlencoded", "If curl -d sent it, use curl --data-binary"),
        (b"RIFF\x24\x08\x00\x00WAVEfmt " + bytes(40), "application/x-www-form-urlencoded", "If curl -d sent it"),
        (bytes(range(256)) * 40, "audio/wav", ""),
    ],
)
def test_a_body_that_curl_d_has_made_gets_a_hint(
    classifier: earmark.Classifier, body: bytes, content_type: str, hint: str
) -> None:
    question = read_question(body, content_type, {})
    with pytest.raises(HTTPException) as refused:
        list(iter_windows(question.audio, classifier.windowing(), 16_000, LIMITS, question.hint))
    assert refused.value.status_code in (415, 422)
    assert hint in refused.value.detail
    assert ("curl" in refused.value.detail) == bool(hint)


def test_a_person_at_a_terminal_gets_the_address(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert page_address("0.0.0.0", 8000) == page_address("127.0.0.1", 8000) == "http://127.0.0.1:8000/"
    assert page_address("::", 80) == "http://[::1]:80/"
    _greet("http://127.0.0.1:8000/")
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    _greet("http://127.0.0.1:8000/")
    assert capsys.readouterr() == ("", "open    http://127.0.0.1:8000/\nstop    Ctrl-C\n")
