"""Measure throughput, latency and memory of `earmark serve`.

    python benchmarks/serve.py MODEL --requests 10000 --rounds 3 --json serve.json

There are three loads. Each has its own server process on the loopback interface; the clients run in this process, with
plain sockets that are kept open:

* `one at a time`: without batches (`--batch_size 1 --batch_delay_ms 0`) and with one client, which sends a request when
  it has the response to the one before
* `batching off`: the same server with 32 clients, which shows how much of the gain comes from concurrency alone
* `batched`: the server with its defaults and 32 clients

Every response is compared with `Classifier.predict`; a difference of more than 1e-4 counts as an error.

`cpu_ms` is the processor time of the server for a request, which other processes disturb less than the wall time.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

import earmark

RATE_HZ = 16_000
NUM_CLIPS = 64
PARTS = 10


@dataclass
class Load:
    """Results of one load."""

    name: str
    clients: int
    requests: int
    latencies_s: list[float] = field(default_factory=list)
    errors: int = 0
    wall_s: float = 0.0
    cpu_s: float = 0.0  # processor time of the server
    rss_mb: list[float] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        """Return the results for JSON."""
        p50, p99 = np.percentile(np.array(self.latencies_s) * 1000, [50, 99]).round(1)
        return {
            "load": self.name,
            "clients": self.clients,
            "requests": len(self.latencies_s),
            "per_s": round(self.requests / self.wall_s, 1),
            "cpu_ms": round(1000 * self.cpu_s / self.requests, 3),
            "p50_ms": float(p50),
            "p99_ms": float(p99),
            "errors": self.errors,
            "rss_mb": self.rss_mb,
        }


def make_clips(seconds: float) -> list[bytes]:
    """Return different clips of the same length as WAV files."""
    rng = np.random.default_rng(0)
    clips = []
    for _ in range(NUM_CLIPS):
        time_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
        wave = 0.3 * np.sin(2 * np.pi * rng.uniform(100, 4000) * time_s) + rng.normal(0, 0.05, len(time_s))
        file = io.BytesIO()
        soundfile.write(file, wave, RATE_HZ, format="WAV")
        clips.append(file.getvalue())
    return clips


def start_server(model: str, flags: list[str]) -> tuple[subprocess.Popen[bytes], int]:
    """Start a server; return its process and its port when it listens."""
    words = [sys.executable, "-m", "earmark", "serve", model, "--device", "cpu", "--port", "0", *flags]
    process = subprocess.Popen(words, stdout=subprocess.PIPE)
    assert process.stdout is not None
    lines = (json.loads(line) for line in process.stdout)  # on a busy machine, other lines come first
    port = next(line["port"] for line in lines if line["event"] == "listening")
    # read the log, because the server would block on a full pipe
    threading.Thread(target=deque, args=(process.stdout, 0), daemon=True).start()
    return process, port


def rss_mb(process: subprocess.Popen[bytes]) -> float:
    """Return the resident memory of a process, in MB."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return round(int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024, 1)


def cpu_s(process: subprocess.Popen[bytes]) -> float:
    """Return the processor time of all threads of a process, in seconds."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def post(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes) -> tuple[int, bytes]:
    """Send a request on an open connection; return status and body of the response."""
    head = f"POST /v1/classify?top_k=1000 HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    answer = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = int(answer.split("content-length: ")[1].split("\r\n")[0])
    return int(answer.split(" ")[1]), await reader.readexactly(length)


def is_right(status: int, body: bytes, expected: dict[str, float]) -> bool:
    """Return whether a response equals the prediction of `Classifier.predict`."""
    if status != 200:
        return False
    rows = {row["label"]: row["score"] for row in json.loads(body)}
    return rows.keys() == expected.keys() and all(abs(rows[label] - expected[label]) < 1e-4 for label in rows)


async def run_load(
    load: Load, port: int, clips: list[bytes], expected: list[dict[str, float]], process: subprocess.Popen[bytes]
) -> None:
    """Send all requests in parts, after an uncounted warm-up part, and record the memory after each part."""

    async def client(numbers: count[int], total: int, counted: bool) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (number := next(numbers)) < total:
            started_s = time.perf_counter()
            status, body = await post(reader, writer, clips[number % NUM_CLIPS])
            if counted:
                load.latencies_s.append(time.perf_counter() - started_s)
                load.errors += not is_right(status, body, expected[number % NUM_CLIPS])
        writer.close()

    for part in range(1 + PARTS):
        started_s, started_cpu_s = time.perf_counter(), cpu_s(process)
        numbers = count()
        await asyncio.gather(*(client(numbers, load.requests // PARTS, part > 0) for _ in range(load.clients)))
        if part > 0:
            load.wall_s += time.perf_counter() - started_s
            load.cpu_s += cpu_s(process) - started_cpu_s
        load.rss_mb.append(rss_mb(process))


def measure(
    model: str, load: Load, flags: list[str], clips: list[bytes], expected: list[dict[str, float]]
) -> dict[str, Any]:
    """Run one load on a new server, and return its results."""
    process, port = start_server(model, flags)
    try:
        asyncio.run(run_load(load, port, clips, expected, process))
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(60)
    return {**load.summary(), "exit_code": code}


def main() -> None:
    """Run the three loads and print their results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--requests", type=int, default=10_000, help="requests of the batched load")
    parser.add_argument("--requests_off", type=int, default=1000, help="requests of each load without batches")
    parser.add_argument("--rounds", type=int, default=3, help="how often each load is measured")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=1.0, help="length of a clip")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--json", help="file for the results")
    options = parser.parse_args()
    clips = make_clips(options.seconds)
    classifier = earmark.Classifier.from_pretrained(options.model, device="cpu", precision=options.precision)
    answers = classifier.predict(clips, top_k=len(classifier.labels))
    expected = [{row["label"]: row["score"] for row in rows} for rows in answers]
    same = ["--precision", options.precision]
    off = [*same, "--batch_size", "1", "--batch_delay_ms", "0"]
    rows, gains = [], []
    for _ in range(options.rounds):
        for load, flags in (
            (Load("one at a time", 1, options.requests_off), off),
            (Load("batching off", options.clients, options.requests_off), off),
            (Load("batched", options.clients, options.requests), same),
        ):
            before = os.getloadavg()[0]
            row = measure(options.model, load, flags, clips, expected)
            rows.append({**row, "machine_load_before": round(before, 2)})
            print(json.dumps(rows[-1]), flush=True)
        gains.append(rows[-1]["per_s"] / rows[-3]["per_s"])
    for name in ("one at a time", "batching off", "batched"):
        print(name, json.dumps(medians([row for row in rows if row["load"] == name])))
    gain = statistics.median(gains)
    spread = f"{min(gains):.2f} to {max(gains):.2f}"
    print(f"batched / one at a time: {gain:.2f}x ({spread}, {len(gains)} rounds) on {os.cpu_count()} cores")
    if options.json:
        Path(options.json).write_text(json.dumps({"rows": rows, "gain": gain, "gains": gains}, indent=1))


def medians(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Return the medians of the measurements of one load over the rounds."""
    return {name: statistics.median(row[name] for row in rows) for name in ("per_s", "cpu_ms", "p50_ms", "p99_ms")}


if __name__ == "__main__":
    main()
