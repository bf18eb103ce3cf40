"""`python -m training.rlhf <stage> --config run.json`: one run, from its file to its end state.

exit 0    finished
     75   stopped by SIGTERM or SIGINT, checkpoint saved
     65   failed: the data or the config (nothing to retry before it is changed)
     70   failed: a number is not finite
     71   failed: out of memory
     74   failed: the disk is full
     76   ended by itself: whoever watches over this run fell silent for longer than its lease
     1    failed: anything else; the traceback is on stderr
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import faulthandler
import gc
import importlib
import json
import os
import select
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from training.rlhf.config import CONFIGS, ConfigError

EXIT_CODES = {"data": 65, "config": 65, "numerics": 70, "memory": 71, "disk": 74, "crash": 1}
EXIT_STOPPED = 75
EXIT_UNWATCHED = 76
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.rlhf", description="Run one stage of training.")
    parser.add_argument("stage", choices=list(CONFIGS))
    parser.add_argument("--config", type=Path, required=True, metavar="run.json", help="the run's whole input")
    options = parser.parse_args(arguments)
    wait_briefly()
    watch_lifeline()
    dump_stacks_on_signal()
    try:
        run = json.loads(options.config.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        print(f"{options.config} cannot be read as JSON: {error}", file=sys.stderr)
        return EXIT_CODES["config"]
    if run.get("stage") != options.stage:
        print(f"{options.config} is for the stage {run.get('stage')!r}, not {options.stage!r}", file=sys.stderr)
        return EXIT_CODES["config"]
    return run_stage(run)


def wait_briefly() -> None:
    """Let threads that wait for each other spin for some microseconds, then sleep; read when torch is imported.

    Measured on two cores, a step of the demo's pretraining: asleep at once 1.0; 2,000 turns 0.83, and 1.06 beside one
    busy neighbour; as many turns as OpenMP takes by itself up to six times slower beside one.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")  # GNU's OpenMP, in torch for Linux
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # any other


def run_stage(run: dict[str, Any]) -> int:
    """Run a stage from its run.json to its end state; returns the exit code. A signal stops it at the next step."""
    load(run["stage"])
    from training.rlhf.errors import Stopped
    from training.rlhf.workspace import Workspace

    work: Workspace | None = None
    early_stop: list[int] = []

    def ask_to_stop(number: int, _frame: Any) -> None:
        if work is None:
            early_stop.append(number)
        else:
            work.stop_requested = True

    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.signal(number, ask_to_stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        work = Workspace.open(run)
        work.stop_requested = bool(early_stop)
        work.progress("starting")
        iterate(work)
    except Stopped:
        assert work is not None
        work.event("stopped", step=work.step)
        return EXIT_STOPPED
    except BaseException as error:
        return report_failure(error, work, run)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 0


def load(stage: str) -> None:
    """Import the stage and all that it stands on, without looking for garbage among it: a seventh of the time.

    Nor is it looked through later, at the collections that training brings.
    """
    module = f"training.rlhf.{stage}"
    if module in sys.modules:  # what lives by now may die some day
        return
    collects = gc.isenabled()
    gc.disable()
    try:
        importlib.import_module(module)
    finally:
        gc.freeze()
        if collects:
            gc.enable()


def iterate(work: Any) -> None:
    """Draw the stage's steps: write each one's metrics, save when it is due, stop when it is asked."""
    from training.rlhf.errors import Stopped
    from training.rlhf.numerics import apply_numerics
    from training.rlhf.parallel import any_of

    apply_numerics(work.numerics, work.seed)
    work.verify_inputs()
    stage = importlib.import_module(f"training.rlhf.{work.stage}")
    for done in stage.run(work.config, work):
        work.metrics(done.step, done.metrics)
        if any_of(work.stop_requested, work.numerics):
            work.stop_requested = True
        if work.stop_requested:
            work.save_checkpoint(done.step)
            any_of(True, work.numerics)  # nobody leaves before rank 0 has saved: torchrun would end it
            raise Stopped
        if work.checkpoint_due(done.step):
            work.start_checkpoint(done.step)


def report_failure(error: BaseException, work: Any, run: dict[str, Any]) -> int:
    """Say what went wrong, as an event where there is a folder for it and on stderr; returns the exit code."""
    traceback.print_exception(error, file=sys.stderr)
    reason, message = explain(error, work.config if work is not None else None)
    if work is not None:
        work.saver.wait()  # a checkpoint that is on its way is one to go on from
    with contextlib.suppress(OSError):  # a full disk: the exit code says it
        if work is not None:
            work.event("failed", reason=reason, message=message)
        elif isinstance(run.get("output"), str):
            say_failed(Path(run["output"]), reason, message)
    print(message, file=sys.stderr)
    return EXIT_CODES[reason]


def say_failed(folder: Path, reason: str, message: str) -> None:
    """The failed event of a run whose workspace could not be opened."""
    import time

    folder.mkdir(parents=True, exist_ok=True)
    line = json.dumps({"event": "failed", "time": round(time.time(), 3), "reason": reason, "message": message})
    with (folder / "events.jsonl").open("a", encoding="utf-8") as stream:
        stream.write(line + "\n")


def explain(error: BaseException, config: Any = None) -> tuple[str, str]:
    """(reason, sentence) of an error: what happened, and what to do about it."""
    import torch

    from training.rlhf.errors import DataError, NumericsError, RowError

    text = str(error).strip()
    if isinstance(error, ConfigError):
        return "config", text
    if isinstance(error, (DataError, RowError)):
        return "data", text
    if isinstance(error, NumericsError):
        return "numerics", text
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)) or any(words in text for words in OUT_OF_MEMORY):
        return "memory", memory_words("CUDA" in text or "CUBLAS" in text, config)
    if isinstance(error, OSError) and error.errno in FULL:
        return "disk", f"the disk is full; free some space where {error.filename or 'the run writes'} is and retry"
    if isinstance(error, FileNotFoundError):
        return "data", f"there is no file {error.filename}"
    return "crash", f"the run broke off: {type(error).__name__}: {text or 'no message'}; its log has the details"


OUT_OF_MEMORY = ("can't allocate memory", "Cannot allocate memory", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED")


def memory_words(on_gpu: bool, config: Any) -> str:
    """What to change, by the settings that this stage has and what they were."""
    names = ("micro_batch_tokens", "generation_batch_tokens", "batch_tokens")
    found = [f"{name} (now {getattr(config, name)})" for name in names if hasattr(config, name)]
    lower = "lower " + " or ".join(found or names[:1])
    if getattr(config, "gradient_checkpointing", True) is False:
        lower += ", turn on gradient_checkpointing"
    ran_out = "the GPU ran out of memory" if on_gpu else "memory ran out"
    return f"{ran_out}; {lower}, or use a smaller model or a larger machine"


def dump_stacks_on_signal() -> None:
    """SIGUSR1 writes where every thread is to the log: asked for before a core that hangs is killed."""
    if sys.__stderr__ is not None:
        faulthandler.register(signal.SIGUSR1, file=sys.__stderr__, all_threads=True)


def watch_lifeline() -> None:
    """End at once when whoever started this run is gone: its end of the pipe closes, and a read sees end-of-file.

    Where PLACKETT_LIFELINE_SECONDS is set, also when nothing came through the pipe for so long: whoever watches over
    the run writes to it as long as the lease is theirs, and a watcher that is frozen, not dead, would leave two
    attempts on one GPU.
    """
    number = os.environ.get("PLACKETT_LIFELINE_FD")
    if number is None:
        return
    seconds = float(os.environ.get("PLACKETT_LIFELINE_SECONDS") or 0) or None

    def wait_for_end(descriptor: int) -> None:
        while select.select([descriptor], [], [], seconds)[0]:
            if not os.read(descriptor, 4096):
                os._exit(1)
        os._exit(EXIT_UNWATCHED)

    threading.Thread(target=wait_for_end, args=(int(number),), daemon=True, name="lifeline").start()


def leave(code: int) -> NoReturn:
    """End this process without taking apart what it loaded, which takes Python over a second: all is written by now."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        sys.exit(code)  # the other ranks want a farewell
    os._exit(code)


if __name__ == "__main__":
    leave(main())
