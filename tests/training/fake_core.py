"""A core that does what it is told, for what the real one hardly ever does: hang, lie, die, write nonsense.

    python fake_core.py <run.json> <word> ...

Standard library only, and no cleverness: each word is carried out in turn.
    started        say so                     steps:N     metrics for the next N steps
    garbage        lines that are no events   partial     half a line, without its end
    checkpoint     save one                   model       publish a model
    lie            say finished, with a wrong hash
    sleep:S        do nothing for S seconds   hang        do nothing for ever
    deaf           ignore SIGTERM             polite      on SIGTERM: stopped, exit 75
    fail:REASON    the failed event, exit 65  exit:N      exit without a word
    kill:N         send oneself signal N      log:TEXT    write to the log
    grow:M         take M megabytes of memory
    environment    write the environment to environment.json
    child          start a child that outlives this process if nobody ends it
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

step = 0
held: list[bytearray] = []


def main() -> None:
    run = json.loads(Path(sys.argv[1]).read_text())
    output = Path(run["output"])
    global step
    if run["resume"]:
        step = int(Path(run["resume"]["path"]).name.removeprefix("step_"))
    threading.Thread(target=watch_lifeline, daemon=True).start()
    for word in sys.argv[2:]:
        name, _, value = word.partition(":")
        ACTIONS[name](output, value)


def watch_lifeline() -> None:
    while os.read(int(os.environ["PLACKETT_LIFELINE_FD"]), 4096):
        pass
    os._exit(1)


def write(output: Path, text: str) -> None:
    with (output / "events.jsonl").open("a") as stream:
        stream.write(text)


def event(output: Path, kind: str, **fields: object) -> None:
    write(output, json.dumps({"event": kind, "time": time.time(), **fields}) + "\n")


def started(output: Path, value: str) -> None:
    event(output, "started", pid=os.getpid(), total_steps=100, resumed_from=step, device="cpu", versions={"torch": "0"})


def steps(output: Path, value: str) -> None:
    global step
    for _ in range(int(value)):
        step += 1
        event(output, "metrics", step=step, metrics={"loss/train": 1.0 / step})
        event(output, "sample", step=step, prompt=[{"role": "user", "content": "?"}], response=f"at {step}", score=None)


def garbage(output: Path, value: str) -> None:
    write(output, 'not json\n{"event": "unheard of"}\n[1, 2]\n{"event": "metrics", "step": 1\n\xff\n')
    event(output, "metrics", step=-3, metrics={"loss/train": None})
    event(output, "metrics", step="many", metrics=["x"])
    write(
        output,
        '{"event": "sample", "step": 1, "prompt": 7, "response": "nul \\u0000 and half \\ud800", "score": "no"}\n',
    )
    write(output, '{"event": "checkpoint", "step": 5, "path": "/etc", "sha256": 7, "size": -1}\n')


def partial(output: Path, value: str) -> None:
    write(output, '{"event": "metrics", "st')


def folder_hash(folder: Path) -> str:
    lines = "".join(
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder).as_posix()}\n"
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    )
    return hashlib.sha256(lines.encode()).hexdigest()


def checkpoint(output: Path, value: str) -> None:
    folder = output / "checkpoints" / f"step_{step:08d}"
    folder.mkdir(parents=True)
    (folder / "state.json").write_text(json.dumps({"step": step}))
    event(output, "checkpoint", step=step, path=f"checkpoints/{folder.name}", sha256=folder_hash(folder), size=12)


def model(output: Path, value: str) -> None:
    folder = output / "model"
    folder.mkdir()
    header = json.dumps({"w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}).encode()
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "max_position_embeddings": 64}))
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(24))
    (folder / "plackett.json").write_text(json.dumps({"step": step}))
    event(output, "finished", path="model", sha256=folder_hash(folder), result={"loss/train": 0.5})


def lie(output: Path, value: str) -> None:
    (output / "model").mkdir()
    (output / "model" / "config.json").write_text("{}")
    event(output, "finished", path="model", sha256="0" * 64, result={})


def polite(output: Path, value: str) -> None:
    def stop(number: int, frame: object) -> None:
        checkpoint(output, "")
        event(output, "stopped", step=step)
        os._exit(75)

    signal.signal(signal.SIGTERM, stop)


def fail(output: Path, value: str) -> None:
    event(output, "failed", reason=value, message=f"It is the {value}: correct it.")
    sys.exit(65)


def grow(output: Path, value: str) -> None:
    held.append(bytearray(os.urandom(4096)) * (int(value) * 256))


def log(output: Path, value: str) -> None:
    print(value, file=sys.stderr, flush=True)


ACTIONS = {
    "started": started,
    "steps": steps,
    "garbage": garbage,
    "partial": partial,
    "checkpoint": checkpoint,
    "model": model,
    "lie": lie,
    "sleep": lambda output, value: time.sleep(float(value)),
    "hang": lambda output, value: time.sleep(1000),
    "deaf": lambda output, value: signal.signal(signal.SIGTERM, signal.SIG_IGN),
    "polite": polite,
    "fail": fail,
    "exit": lambda output, value: os._exit(int(value)),
    "kill": lambda output, value: os.kill(os.getpid(), int(value)),
    "log": log,
    "grow": grow,
    "environment": lambda output, value: (output / "environment.json").write_text(json.dumps(dict(os.environ))),
    "child": lambda output, value: (output / "child.pid").write_text(str(subprocess.Popen(["sleep", "1000"]).pid)),
}

if __name__ == "__main__":
    main()
