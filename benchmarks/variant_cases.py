"""Make recordings in many containers and codecs, with tags, truncations, damage and wrong headers.

A variant depends only on its number and a seed. PyAV writes the formats that libsndfile cannot write.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import av
import numpy as np
import soundfile

Maker = Callable[[np.ndarray, int], bytes]

COMMON = (8_000, 16_000, 22_050, 44_100, 48_000)
_WAV_CODECS = (
    "PCM_16", "PCM_24", "PCM_32", "PCM_U8", "FLOAT", "DOUBLE", "ULAW", "ALAW", "IMA_ADPCM", "MS_ADPCM",
)  # fmt: skip
MPEG = (8_000, 16_000, 24_000, 44_100, 48_000)


@dataclass(frozen=True)
class Encoder:
    """A container and codec for samples (T, channels).

    Attributes:
        name: name in tables.
        kind: kind of file, which selects the changes that apply to it: wav, aiff, au, w64, flac, mp3, ogg, mp4, other.
        make: returns the file, given samples and sampling rate.
        rates: supported sampling rates, in hertz.
        channels: supported numbers of channels.
        suffix: suffix of the file name.
    """

    name: str
    kind: str
    make: Maker
    rates: tuple[int, ...] = COMMON
    channels: tuple[int, ...] = (1, 2)
    suffix: str = ".bin"


@dataclass(frozen=True)
class Variant:
    """One recording.

    Attributes:
        number: number of the variant.
        name: description of the variant.
        data: content of the file.
        suffix: suffix of the file name.
        seconds: seconds of encoded audio.
    """

    number: int
    name: str
    data: bytes
    suffix: str
    seconds: float


def sf_make(samples: np.ndarray, rate_hz: int, container: str, codec: str) -> bytes:
    """Encode with libsndfile."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate_hz, format=container, subtype=codec)
    return buffer.getvalue()


def av_make(
    samples: np.ndarray, rate_hz: int, container: str, codec: str, options: dict[str, str] | None = None, kbits: int = 0
) -> bytes:
    """Encode with PyAV; ``options`` are for the container, or for the codec if their names start with ``+``."""
    buffer = io.BytesIO()
    options = options or {}
    of_container = {name: value for name, value in options.items() if not name.startswith("+")}
    layout = "mono" if samples.shape[1] == 1 else "stereo"
    with av.open(buffer, "w", format=container, options=of_container) as out:
        stream = out.add_stream(codec, rate=rate_hz, layout=layout)
        stream.codec_context.options = {name[1:]: value for name, value in options.items() if name.startswith("+")}
        if kbits:
            stream.bit_rate = 1000 * kbits
        resampler = av.AudioResampler(format=stream.format.name, layout=layout, rate=rate_hz)
        for start in range(0, len(samples), 1024):
            block = np.ascontiguousarray(samples[start : start + 1024].T)
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=layout)
            frame.sample_rate, frame.pts = rate_hz, start
            for converted in resampler.resample(frame):
                out.mux(stream.encode(converted))
        out.mux(stream.encode(None))
    return buffer.getvalue()


def _sf(container: str, codec: str) -> Maker:
    return partial(sf_make, container=container, codec=codec)


def _av(container: str, codec: str, kbits: int = 0, **options: str) -> Maker:
    named = {name.replace("codec_", "+"): value for name, value in options.items()}
    return partial(av_make, container=container, codec=codec, options=named, kbits=kbits)


def encoders() -> list[Encoder]:
    """Return all encoders."""
    return [
        *(Encoder(f"wav {codec}", "wav", _sf("WAV", codec), suffix=".wav")
          for codec in _WAV_CODECS),
        Encoder("wav GSM610", "wav", _sf("WAV", "GSM610"), (8000,), (1,), ".wav"),
        Encoder("wavex PCM_16", "wav", _sf("WAVEX", "PCM_16"), suffix=".wav"),
        Encoder("rf64 PCM_16", "other", _sf("RF64", "PCM_16"), suffix=".wav"),
        Encoder("w64 PCM_16", "w64", _sf("W64", "PCM_16"), suffix=".w64"),
        Encoder("aiff PCM_16", "aiff", _sf("AIFF", "PCM_16"), suffix=".aiff"),
        Encoder("aiff PCM_24", "aiff", _sf("AIFF", "PCM_24"), suffix=".aif"),
        Encoder("au PCM_16", "au", _sf("AU", "PCM_16"), suffix=".au"),
        Encoder("caf PCM_16", "other", _sf("CAF", "PCM_16"), suffix=".caf"),
        Encoder("caf ALAC", "other", _sf("CAF", "ALAC_16"), suffix=".caf"),
        Encoder("voc PCM_16", "other", _sf("VOC", "PCM_16"), suffix=".voc"),
        Encoder("nist PCM_16", "other", _sf("NIST", "PCM_16"), suffix=".sph"),
        *(Encoder(f"flac {codec}", "flac", _sf("FLAC", codec), suffix=".flac") for codec in ("PCM_16", "PCM_24")),
        Encoder("flac PyAV", "flac", _av("flac", "flac"), suffix=".flac"),
        Encoder("vorbis", "ogg", _sf("OGG", "VORBIS"), suffix=".ogg"),
        Encoder("opus", "ogg", _sf("OGG", "OPUS"), (8000, 16_000, 24_000, 48_000), suffix=".opus"),
        Encoder("opus PyAV", "ogg", _av("ogg", "libopus"), (48_000,), suffix=".opus"),
        Encoder("flac in ogg", "ogg", _av("ogg", "flac"), suffix=".oga"),
        Encoder("mp3 Xing", "mp3", _sf("MP3", "MPEG_LAYER_III"), MPEG, suffix=".mp3"),
        *(Encoder(f"mp3 {kbits} kbit/s without Xing", "mp3",
                  _av("mp3", "libmp3lame", kbits, write_xing="0", id3v2_version="0"), MPEG, suffix=".mp3")
          for kbits in (32, 64, 128)),
        Encoder("mp3 VBR without Xing", "mp3", _av("mp3", "libmp3lame", write_xing="0", codec_global_quality="600",
                                                    codec_flags="+qscale"), MPEG, suffix=".mp3"),
        Encoder("mp3 Lavf Xing", "mp3", _av("mp3", "libmp3lame", 64, id3v2_version="3", write_id3v1="1"), MPEG,
                suffix=".mp3"),
        Encoder("mp2", "mp3", _av("mp2", "mp2", 128), (16_000, 24_000, 44_100, 48_000), suffix=".mp2"),
        Encoder("g726 in wav", "wav", _av("wav", "g726", 32), (8000,), (1,), ".wav"),
        Encoder("mp3 in wav", "wav", _av("wav", "libmp3lame", 64), MPEG, suffix=".wav"),
        Encoder("wav piped", "other", _av("wav", "pcm_s16le", fflags="+bitexact"), suffix=".wav"),
        Encoder("adts aac", "other", _av("adts", "aac", 64), (16_000, 44_100, 48_000), suffix=".aac"),
        Encoder("m4a aac", "mp4", _av("mp4", "aac", 64), (16_000, 44_100, 48_000), suffix=".m4a"),
        Encoder("m4a alac", "mp4", _av("mp4", "alac"), (16_000, 44_100, 48_000), suffix=".m4a"),
        Encoder("webm opus", "other", _av("webm", "libopus"), (48_000,), suffix=".webm"),
        Encoder("mkv aac", "other", _av("matroska", "aac", 64), (44_100, 48_000), suffix=".mkv"),
        Encoder("ac3", "other", _av("ac3", "ac3", 128), (44_100, 48_000), suffix=".ac3"),
        Encoder("wma", "other", _av("asf", "wmav2", 64), (44_100,), suffix=".wma"),
        Encoder("amr", "other", _av("amr", "libopencore_amrnb", 12), (8000,), (1,), ".amr"),
    ]  # fmt: skip


def tone(rng: np.random.Generator, rate_hz: int, seconds: float, channels: int) -> np.ndarray:
    """Return a tone whose pitch changes all the time, float32 (T, channels), so that no two parts are alike."""
    count = round(seconds * rate_hz)
    steps = rng.uniform(200, 0.3 * min(rate_hz, 10_000), int(seconds * 8) + 2)
    pitch_hz = np.interp(np.arange(count), np.linspace(0, count, len(steps)), steps)
    wave = np.sin(2 * np.pi * np.cumsum(pitch_hz) / rate_hz)
    wave *= np.interp(np.arange(count), np.linspace(0, count, len(steps)), rng.uniform(0.1, 0.5, len(steps)))
    second = 0.7 * wave + 0.02 * rng.standard_normal(count)
    return np.stack([wave, second][:channels], axis=1).astype(np.float32)


# Each of these functions changes a file, and returns the new bytes and a name for the change.

Change = tuple[bytes, str]


def tagged_in_front(data: bytes, rng: np.random.Generator) -> Change:
    """Add an ID3v2 tag at the start."""
    size = int(rng.integers(10, 4000))
    sizes = bytes([size >> 21 & 127, size >> 14 & 127, size >> 7 & 127, size & 127])
    return b"ID3\x03\0\0" + sizes + bytes(size) + data, "ID3v2 in front"


def tagged_behind(data: bytes, rng: np.random.Generator) -> Change:
    """Add an ID3v1 tag at the end."""
    return data + b"TAG" + rng.integers(32, 126, 125, dtype=np.uint8).tobytes(), "ID3v1 behind"


def shorter(data: bytes, rng: np.random.Generator) -> Change:
    """Cut off a few bytes, or up to 40 % of the file."""
    if rng.random() < 0.4:
        count = int(rng.integers(1, 45))
        return data[:-count], f"{count} bytes short"
    kept = float(rng.uniform(0.6, 0.99))
    return data[: int(len(data) * kept)], f"cut to {kept:.2f}"


def far_shorter(data: bytes, rng: np.random.Generator) -> Change:
    """Cut off more than half of the file."""
    kept = float(rng.uniform(0.1, 0.45))
    return data[: int(len(data) * kept)], f"cut to {kept:.2f}"


def damaged(data: bytes, rng: np.random.Generator) -> Change:
    """Replace bytes in the middle with zeros or random bytes."""
    count = int(rng.integers(8, 200))
    at = int(rng.integers(len(data) // 3, 2 * len(data) // 3))
    new = bytes(count) if rng.random() < 0.5 else rng.bytes(count)
    return data[:at] + new + data[at + count :], f"{count} bytes damaged"


def wav_lie(data: bytes, rng: np.random.Generator) -> Change:
    """Write a wrong size into a WAV header."""
    at = data.index(b"data") + 4
    size = len(data) - at - 4
    lies = {
        "data size 0": 0,
        "data size one second": min(size // 3, struct.unpack_from("<I", data, 28)[0]),
        "data size 44 too large": size + 44,
        f"data size {(more := int(rng.integers(1, 44)))} too large": size + more,
        "data size of a pipe": 0xFFFFFFFF,
        "data size of a pipe (0x7FFFFFFF)": 0x7FFFFFFF,
    }
    name = str(rng.choice(list(lies)))
    return data[:at] + struct.pack("<I", lies[name]) + data[at + 4 :], name


def wav_chunks(data: bytes, rng: np.random.Generator) -> Change:
    """Add a chunk after the audio of a WAV file, and in half of the cases set the size of the audio to 0."""
    at = data.index(b"data") + 4
    changed = data if rng.random() < 0.5 else data[:at] + bytes(4) + data[at + 4 :]
    info = b"INFOISFT" + struct.pack("<I", 14) + b"Lavf59.27.100\0"
    name = "LIST behind" + ("" if changed is data else ", data size 0")
    return changed + bytes(len(data) % 2) + b"LIST" + struct.pack("<I", len(info)) + info, name


def big_endian_lie(data: bytes, rng: np.random.Generator, *, mark: bytes, field: int) -> Change:
    """Write a wrong size into an AIFF or AU header."""
    at = data.index(mark) + field
    size = struct.unpack_from(">I", data, at)[0]
    new, name = [(size // 3, "size a third"), (size + 30, "size 30 too large"), (0, "size 0")][int(rng.integers(3))]
    return data[:at] + struct.pack(">I", new) + data[at + 4 :], name


def flac_lie(data: bytes, rng: np.random.Generator) -> Change:
    """Write a wrong number of samples into a FLAC header."""
    packed = int.from_bytes(data[18:26], "big")
    total = packed & ((1 << 36) - 1)
    new, name = [(total // 2, "half"), (0, "unknown"), (2 * total, "double"), (total + 7, "7 more")][
        int(rng.integers(4))
    ]
    return data[:18] + ((packed >> 36 << 36) | new).to_bytes(8, "big") + data[26:], f"total {name}"


def xing_lie(data: bytes, rng: np.random.Generator) -> Change:
    """Halve the number of frames in the Xing header of an MP3 file, or add garbage at the start."""
    at = max(data.find(b"Xing", 0, 2000), data.find(b"Info", 0, 2000))
    if at < 0 or rng.random() < 0.3:
        return rng.integers(1, 200, 300, dtype=np.uint8).tobytes() + data, "garbage in front"
    frames = struct.unpack_from(">I", data, at + 8)[0]
    return data[: at + 8] + struct.pack(">I", frames // 2) + data[at + 12 :], "Xing counts half"


LIES: dict[str, list[Callable[[bytes, np.random.Generator], Change]]] = {
    "wav": [wav_lie, wav_lie, wav_chunks],
    "aiff": [partial(big_endian_lie, mark=b"SSND", field=4)],
    "au": [partial(big_endian_lie, mark=b".snd", field=8)],
    "flac": [flac_lie, flac_lie, tagged_in_front],
    "mp3": [xing_lie, tagged_in_front, tagged_behind],
    "ogg": [tagged_in_front],
}
JOINABLE = {"wav", "flac", "mp3", "ogg"}


def make_variant(number: int, seed: int) -> Variant:
    """Return a variant, which depends only on ``number`` and ``seed``."""
    rng = np.random.default_rng([seed, number])
    every = encoders()
    encoder = every[number % len(every)]
    rate_hz, channels = int(rng.choice(encoder.rates)), int(rng.choice(encoder.channels))
    seconds = float(rng.uniform(0.8, 4.0))
    data = encoder.make(tone(rng, rate_hz, seconds, channels), rate_hz)
    what = ["as it is", "lie", "shorter", "damaged", "joined", "far shorter"]
    weights = np.array([0.12, 0.32, 0.2, 0.12, 0.18, 0.06])
    change = str(rng.choice(what, p=weights / weights.sum()))
    name = "as it is"
    if change == "joined" and encoder.kind in JOINABLE:
        more = seconds if rng.random() < 0.3 else float(rng.uniform(0.5, 3.0))
        data += encoder.make(tone(rng, rate_hz, more, channels), rate_hz)
        seconds, name = seconds + more, f"joined {seconds:.2f} s and {more:.2f} s"
    elif change == "lie" and encoder.kind in LIES:
        lies = LIES[encoder.kind]
        data, name = lies[int(rng.integers(len(lies)))](data, rng)
    elif change in ("shorter", "damaged", "far shorter"):
        data, name = {"shorter": shorter, "damaged": damaged, "far shorter": far_shorter}[change](data, rng)
    title = f"{encoder.name}, {rate_hz} Hz, {channels} ch, {name}"
    return Variant(number, title, data, encoder.suffix, seconds)
