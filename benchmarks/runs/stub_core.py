"""A core that computes nothing and tells much: `stub_core.py RUN_JSON STEPS RATE`, for what 20 runs write at once.

RATE is in steps a second; 0 writes as fast as it can. It ends in a folder that passes for a model. Standard library
only, so that 20 of them weigh little.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import struct
import sys
import threading
import time
from pathlib import Path
from typing import TextIO

METRICS = (
    *("loss/train", "learning_rate", "grad_norm", "tokens_per_second", "rewards/margin", "objective/kl"),
    *("objective/score", "response/length", "policy/entropy", "value/loss"),
)
SAMPLE_EVERY = 100


def main() -> None:
    output = Path(json.loads(Path(sys.argv[1]).read_text())["output"])
    steps, rate = int(sys.argv[2]), float(sys.argv[3])
    threading.Thread(target=watch_lifeline, daemon=True).start()
    numbers = random.Random(str(output))
    with (output / "events.jsonl").open("a", buffering=1) as stream:
        began = time.time()
        tell(stream, "started", total_steps=steps, device="none", code_version="stub", versions={"torch": "0"})
        for step in range(1, steps + 1):
            if rate:
                time.sleep(max(0.0, began + step / rate - time.time()))
            tell(stream, "metrics", step=step, metrics={name: numbers.random() for name in METRICS})
            if step % SAMPLE_EVERY == 0:
                prompt = [{"role": "user", "content": "What is near the small town?"}]
                tell(stream, "sample", step=step, prompt=prompt, response="The red boat." * 10, score=0.5, tokens=40)
        tell(stream, "finished", path="model", sha256=model(output), result={"loss/train": 0.5})


def watch_lifeline() -> None:
    """End with whoever watches over it, as a core does."""
    while os.read(int(os.environ["PLACKETT_LIFELINE_FD"]), 4096):
        pass
    os._exit(1)


def tell(stream: TextIO, kind: str, **fields: object) -> None:
    stream.write(json.dumps({"event": kind, "time": round(time.time(), 3), **fields}) + "\n")


def model(output: Path) -> str:
    """Make the least that is taken for a model; its hash."""
    folder = output / "model"
    folder.mkdir()
    header = json.dumps({"w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}).encode()
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "max_position_embeddings": 64}))
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(24))
    (folder / "plackett.json").write_text(json.dumps({"output": str(output)}))
    found = [(path.name, hashlib.sha256(path.read_bytes()).hexdigest()) for path in sorted(folder.iterdir())]
    return hashlib.sha256("".join(f"{digest}  {name}\n" for name, digest in found).encode()).hexdigest()


if __name__ == "__main__":
    main()
