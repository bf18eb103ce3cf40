"""`manage.py faults`: kill, starve and freeze everything around runs, and see that they end as if nothing had been.

    python3 manage.py faults                 the long form: 50 kills a stage; may be stopped
    python3 manage.py faults --resume        goes on where it was stopped
    python3 manage.py faults --short         each fault once
    python3 manage.py faults --only redis    those whose name has this in it

Real processes, on a PostgreSQL cluster and Redis servers of its own in a temporary folder, with leases of 5 seconds and
models of a few thousand weights. Several installations side by side, since most of the time is spent waiting (for
leases, for servers that are away): for kills (in the long form three, by stages), for what stands around a run, one on
SQLite, and one of hosts that share nothing but PostgreSQL, Redis and an object store. When all of the long form has
held, a hundred labelers work while everything around them is killed, and then make 100,000 labels without a rest. The
table at the end says what was done how often, and what held.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.faults.servers import S3, Lacking, PostgreSQL, Redis, Server, end_with_parent

ROOT = Path(__file__).resolve().parents[2]
# Which kills each installation sees, by stages. In the short form making the world costs more than the waiting.
KILL_SIDES = {"kills": "", "pretrain, SFT": "pretrain sft", "sample, reward": "sample reward", "PPO": "ppo"}
SHORT_SIDES = ("kills", "around", "sqlite", "hosts")
LONG_SIDES = ("pretrain, SFT", "sample, reward", "PPO", "around", "sqlite", "hosts")
BY_ITSELF = "labels"  # of the long form, after the others: a hundred labelers take all of the machine
NICE = 5  # for kills, which may come at any moment: what goes by the clock goes first
MOST_MISSES = 20  # in a row: runs that were over before the moment of their kill came


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    if options.side:
        return carry_out_side(options)
    state = Path(options.state)
    state.parent.mkdir(parents=True, exist_ok=True)
    if not options.resume:
        state.unlink(missing_ok=True)
    elif known := read_state(state):
        options.seed = known[0]["seed"]
    form = "short" if options.short else "long"
    print(f"Faults, {form} form, seed {options.seed} (--seed {options.seed} does the same again)", flush=True)
    began = time.monotonic()
    status = run_sides(options)
    rows = read_state(state)
    print_table(rows)
    print(f"{time.monotonic() - began:.0f} s; results: {state}")
    return 1 if status or not rows or not all(row["held"] for row in rows) else 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="manage.py faults", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--short", action="store_true", help="each fault once, in a few minutes")
    parser.add_argument("--only", default="", metavar="NAME", help="only faults whose name has this in it")
    parser.add_argument("--times", type=int, default=0, help="how often each is done, in place of the form's number")
    parser.add_argument("--resume", action="store_true", help="go on with what a stopped run left to do")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6), help="of the moments")
    parser.add_argument("--state", default=str(ROOT / "data" / "faults.jsonl"), help="where results are kept")
    parser.add_argument("--data", help=argparse.SUPPRESS)  # the bootstrap's
    parser.add_argument("--side", choices=dict.fromkeys((*SHORT_SIDES, *LONG_SIDES, BY_ITSELF)), help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def read_state(path: Path) -> list[dict[str, Any]]:
    with suppress(FileNotFoundError):
        return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
    return []


def run_sides(options: argparse.Namespace) -> int:
    """Each side is a process of its own, since a process knows one database."""
    if options.short:
        return run_at_once(options, SHORT_SIDES)
    return run_at_once(options, LONG_SIDES) or run_at_once(options, (BY_ITSELF,))


def run_at_once(options: argparse.Namespace, names: Sequence[str]) -> int:
    command = [sys.executable, "-m", "tests.faults", "--seed", str(options.seed), "--state", options.state]
    command += ["--short"] * options.short + ["--only", options.only, "--times", str(options.times)]
    sides = [
        subprocess.Popen([*command, "--side", name], cwd=ROOT, preexec_fn=end_with_parent(signal.SIGTERM))
        for name in names
    ]
    try:
        return max(side.wait() for side in sides)
    except KeyboardInterrupt:
        for side in sides:  # Ctrl-C in a terminal has reached them too; a signal to us alone has not
            side.terminate()
        print("Stopped; --resume goes on from here.", flush=True)
        return max(side.wait() for side in sides) or 1


# One side


def carry_out_side(options: argparse.Namespace) -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    if options.side == BY_ITSELF:
        return carry_out_labels(options)
    from tests.faults import hosts
    from tests.faults.stack import Stack, environment

    apart = options.side == "hosts"
    if apart and hosts.NETWORK_VARIABLE not in os.environ:
        if why := hosts.lacking():
            print(f"hosts: left out, since {why}", flush=True)
            return 0
        with hosts.Network() as network:
            return network.run_inside([sys.executable, "-m", "tests.faults", *sys.argv[1:]], ROOT)
    if apart:
        Server.host = hosts.HUB
    if options.side in KILL_SIDES:
        os.nice(NICE)
    folder = Path(tempfile.mkdtemp(prefix=f"plackett-faults-{slug(options.side)}-"))
    folder.chmod(0o711)  # the user postgres passes through
    data = folder / "data"
    data.mkdir()
    lifeline, held = os.pipe()
    redis = Redis(folder)
    postgresql = PostgreSQL(folder) if options.side != "sqlite" else None
    s3 = S3(folder) if apart else None
    servers: list[Server] = [server for server in (redis, postgresql, s3) if server]
    variables = environment(data, postgresql.url if postgresql else "", redis.url, lifeline)
    variables |= s3.variables("faults") if s3 else {}
    stack = (hosts.HostStack if apart else Stack)(data, variables, lifeline, servers)
    os.environ.update({name: value for name, value in variables.items() if name != "FAULTS_LIFELINE_FD"})
    failed = kept = False
    try:
        failed = kept = not Side(options, stack, redis, postgresql, s3).carry_out()
    except KeyboardInterrupt:
        failed = True
    except Lacking as error:
        print(f"{options.side}: {error}", flush=True)
        failed = True
    except Exception:
        kept = True
        raise
    finally:
        stack.end()
        os.close(held)
        if kept:
            print(f"{options.side}: its logs are in {folder}", flush=True)
        else:
            subprocess.run(["rm", "-rf", str(folder)], check=False)
    return int(failed)


def carry_out_labels(options: argparse.Namespace) -> int:
    from tests.faults import labels

    todo = [
        fault
        for fault in labels.FAULTS
        if options.only.lower() in fault.name.lower() and times_left(options, fault) > 0
    ]
    if not todo:
        return 0
    with tempfile.TemporaryDirectory(prefix="plackett-faults-labels-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o711)  # the user postgres passes through
        postgresql = PostgreSQL(folder)
        try:
            postgresql.start()
            return sum(not try_labels(options, fault, postgresql, folder) for fault in todo)
        finally:
            postgresql.end()


def try_labels(options: argparse.Namespace, fault: Any, postgresql: PostgreSQL, folder: Path) -> bool:
    from tests.faults import labels

    print(f"labels: {fault.name} ...", flush=True)
    began = time.monotonic()
    problem = labels.do(fault, postgresql, folder, ROOT, options.seed)
    print(f"labels: {record(options, fault, 1, began, problem)}", flush=True)
    return not problem


def times_left(options: argparse.Namespace, fault: Any) -> int:
    """How often it is still to be done; one that did not hold is tried again by --resume."""
    wanted = options.times or (fault.short if options.short else fault.long)
    rows = read_state(Path(options.state))
    return int(wanted) - sum(row["times"] for row in rows if row["fault"] == fault.name and row["held"])


def record(options: argparse.Namespace, fault: Any, times: int, began: float, problem: str = "") -> str:
    """Keep what came of it; returns it in words."""
    row = {
        "fault": fault.name,
        "times": times,
        "held": not problem,
        "holds": fault.holds,
        "problem": problem,
        "seconds": round(time.monotonic() - began, 1),
        "seed": options.seed,
        "form": "short" if options.short else "long",
    }
    with Path(options.state).open("a") as stream:  # one short line: whole or not at all
        stream.write(json.dumps(row) + "\n")
    return f"{fault.name}: " + (f"DID NOT HOLD: {problem}" if problem else f"held ({times}, {row['seconds']} s)")


def slug(side: str) -> str:
    return side.lower().replace(", ", "-")


class Side:
    """One installation, and the faults that it goes through."""

    def __init__(self, options: argparse.Namespace, stack: Any, redis: Any, postgresql: Any, s3: Any) -> None:
        self.options, self.stack, self.redis, self.postgresql, self.s3 = options, stack, redis, postgresql, s3
        self.began = time.monotonic()

    def say(self, text: str) -> None:
        print(f"[{time.monotonic() - self.began:5.0f} s] {self.options.side}: {text}", flush=True)

    def carry_out(self) -> bool:
        import django

        django.setup()
        from django.core.management import call_command

        from tests.faults import faults
        from tests.faults.world import make_world

        todo = [(fault, times) for fault in self.chosen(faults) if (times := times_left(self.options, fault)) > 0]
        if not todo:
            return True
        for server in self.stack.servers:
            server.start()
        call_command("migrate", verbosity=0, interactive=False)
        self.stack.start_all()
        world = make_world(self.stack, tuple({fault.stage for fault, _ in todo}), self.say)
        ok, rounds = True, 1
        while todo:  # a bit of each in turn, so that a long form that is stopped has seen them all
            going = [(fault, self.go_through(fault, left, faults.Scene, world)) for fault, left in todo]
            ok = ok and all(left >= 0 for _, left in going)
            todo = [(fault, left) for fault, left in going if left > 0]
            self.say(f"round {rounds} done; {sum(left for _, left in todo)} times left of {len(todo)} faults")
            rounds += 1
        return ok

    def chosen(self, faults: Any) -> list[Any]:
        side = self.options.side
        if side in KILL_SIDES:
            stages = KILL_SIDES[side].split()
            listed = [fault for fault in faults.KILLS if not stages or fault.stage in stages]
        else:
            listed = {"around": faults.AROUND, "sqlite": faults.ON_SQLITE, "hosts": faults.HOSTS_APART}[side]
        return [fault for fault in listed if self.options.only.lower() in fault.name.lower()]

    def go_through(self, fault: Any, left: int, scene_class: Any, world: Any) -> int:
        """Do it as often as one run bears; returns how often it is left to do, -1 where it did not hold."""
        for miss in range(MOST_MISSES):
            key = f"{self.options.seed}/{fault.name}/{left}/{miss}"  # by what is left: --resume draws new moments
            scene = scene_class(
                world, self.redis, self.postgresql, random.Random(key), bool(self.options.short), self.s3
            )
            began = time.monotonic()
            try:
                times = fault.do(scene, min(fault.at_once, left))
            except Exception as error:
                self.say(record(self.options, fault, 1, began, f"{type(error).__name__}: {error}"))
                return -1
            if times:
                self.say(record(self.options, fault, times, began))
                return left - times
        self.say(f"{fault.name}: {MOST_MISSES} runs were over before the moment came")
        return -1


# The table


def print_table(rows: list[dict[str, Any]]) -> None:
    print(f"\n{'fault':52} {'times':>5}  what held")
    for name in dict.fromkeys(row["fault"] for row in rows):
        of = [row for row in rows if row["fault"] == name]
        held = sum(row["times"] for row in of if row["held"])
        problems = [row["problem"] for row in of if not row["held"]]
        said = of[0]["holds"] if not problems else f"DID NOT HOLD {len(problems)} times: {problems[0]}"
        print(f"{name:52} {held + len(problems):>5}  {said}")


if __name__ == "__main__":
    sys.exit(main())
