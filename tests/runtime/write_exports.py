"""Write what the tests of this folder compare with: exports, recordings, and the predictions of the models in torch.

    python -m tests.runtime.write_exports FOLDER

``scripts/test-runtime`` runs it where torch is installed, and the tests where it is not.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

from tests.tiny import RATE_HZ, tone

# scripts/test-runtime sets this to the folder that main() has filled
WRITTEN = os.environ.get("EARMARK_RUNTIME_EXPORTS")
_ALL = ("tc_resnet", "wav2vec2")
KINDS = _ALL if WRITTEN else _ALL[:1]  # an export takes 10 s of CPU
LONG = "long.wav"
HOP_S = 0.5


def write_exports(folder: Path, kinds: Sequence[str]) -> None:
    """Write ``KIND/`` (an ONNX export), ``recordings/`` and ``predictions.json`` into a folder."""
    import earmark
    from earmark.export.export_model import export
    from earmark.settings.export_flags import ExportOptions
    from tests.families.tiny_models import build_for_export

    recordings = write_recordings(folder / "recordings")
    predictions = {}
    for kind in kinds:
        model = folder / "models" / kind
        build_for_export(kind).save(model)
        export(ExportOptions(model_name_or_path=str(model), output=str(folder / kind)))
        classifier = earmark.Classifier.from_pretrained(model, device="cpu")
        timeline = classifier.timeline(folder / "recordings" / LONG, hop_seconds=HOP_S)
        predictions[kind] = {
            "labels": classifier.labels,
            "probabilities": classifier.predict_proba(recordings).tolist(),
            "windows": [[window.start_s, window.end_s, window.probabilities.tolist()] for window in timeline.windows],
        }
    (folder / "predictions.json").write_text(json.dumps(predictions))


def write_recordings(folder: Path) -> list[Path]:
    """Write recordings of several formats, sampling rates, channels and lengths."""
    folder.mkdir(parents=True)
    two = np.stack([tone(440, 0.8, rate_hz=44_100), tone(880, 0.8, rate_hz=44_100, seed=1)], axis=1)
    clips = {
        "short.wav": (tone(300, 0.05), RATE_HZ),
        "one.wav": (tone(700, 1.0), RATE_HZ),
        "stereo.flac": (two, 44_100),
        "phone.mp3": (tone(1200, 1.3, rate_hz=8000), 8000),
        LONG: (np.concatenate([tone(300, 1.4), tone(3000, 1.9, seed=2)]), RATE_HZ),
    }
    for name, (samples, rate_hz) in clips.items():
        soundfile.write(folder / name, samples, rate_hz)
    return sorted(folder / name for name in clips)


if __name__ == "__main__":
    write_exports(Path(sys.argv[1]), _ALL)
