"""Faults that take longer than a test may: kills, full disks, flipped bits, dead processes, fifty epochs of memory.

python -m benchmarks.torture [KILLS] [--json FILE]

On a tiny data set, CPU, one thread. Every fault must be survived (the run goes on and ends with the uninterrupted run's
weights, bit for bit) or named (one sentence with the file, nothing damaged used). Exits with 1 otherwise.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.progress import track

from benchmarks.measuring import main_arguments, print_table
from coleaf_framework import CoLeaFConfig, CoLeaFTrainer, TrainerConfig, wrap
from coleaf_framework.data import AVVPFolder, open_folder, pack
from coleaf_framework.storage import read_tensors
from coleaf_framework.training.progress import TrainingProgress
from tests.helpers.data import write_data_set

EPOCHS = 150
EVERY_TERM = {"anchor_warmup": 0, "reference_warmup": 0}
fork = multiprocessing.get_context("fork")
Result = tuple[str, int, int]


def fit(root: Path, out: Path | None, epochs: int = EPOCHS, **settings: Any) -> CoLeaFTrainer:
    """A run that saves after every step; goes on where one is there."""
    train, val = open_folder(root, "train"), open_folder(root, "val")
    torch.manual_seed(0)
    model = wrap(
        "han", streams=train.streams, num_classes=3, anchor_options={"width": 16},
        config=CoLeaFConfig.official(**EVERY_TERM),
    )  # fmt: skip
    config = TrainerConfig(**({"epochs": epochs, "batch_size": 2, "device": "cpu", "checkpoint_steps": 1} | settings))
    existing: Any = "resume" if out is not None and (out / "config.yaml").exists() else "refuse"
    trainer = CoLeaFTrainer(model, config, out=out, on_existing=existing, quiet=True)
    trainer.fit(train, val)
    return trainer


def silent(function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
    """Run in this (child) process without a word."""
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    function(*args, **kwargs)


def same(trainer: CoLeaFTrainer, expected: dict[str, Any]) -> bool:
    """Whether a trainer ended with these weights, bit for bit."""
    return all(torch.equal(x, expected[name]) for name, x in trainer.model.state_dict().items())


def stopped(root: Path, work: Path, expected: Any, times: int, number: int, longest: float) -> Result:
    """A run stopped by a signal at random moments, resumed each time."""
    out, alive = work / f"signal-{number}", 0
    while alive < times:
        process = fork.Process(target=silent, args=(fit, root, out))
        process.start()
        time.sleep(random.uniform(0.05, longest))
        if process.is_alive():
            os.kill(process.pid, number)  # type: ignore[arg-type]
            alive += 1
        elif process.exitcode == 0:  # it came to its end: begin anew
            shutil.rmtree(out)
        process.join()
    trainer = fit(root, out)
    return f"{signal.Signals(number).name} at a random moment of training", alive, alive * same(trainer, expected)


def full_disk(root: Path, work: Path, expected: Any, times: int) -> Result:
    """A run whose files may not grow beyond a random size, from a random moment on."""
    out = work / "full"

    def limited(limit: int, after: float) -> None:
        def on(*_: Any) -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        signal.signal(signal.SIGALRM, on)
        signal.setitimer(signal.ITIMER_REAL, after)
        fit(root, out)

    failed = 0
    for _ in track(range(times), "full disk", transient=True):
        process = fork.Process(target=silent, args=(limited, random.randint(1, 60_000), random.uniform(0.2, 1.0)))
        process.start()
        process.join()
        failed += process.exitcode != 0
    return "disk full while a checkpoint is written", failed, failed * same(fit(root, out), expected)


def packing(root: Path, work: Path, times: int) -> Result:
    """Packing killed at random moments, gone on with each time."""
    out, killed = work / "packed", 0
    options = {"shard_megabytes": 1e-4, "dtype": "float32", "jobs": 2}
    for _ in track(range(times), "packing", transient=True):
        if (out / "index.json").exists():
            shutil.rmtree(out)
        process = fork.Process(target=silent, args=(pack, root, out), kwargs=options)
        process.start()
        time.sleep(random.uniform(0.0, 0.15))
        killed += process.is_alive()
        process.kill()
        process.join()
    if not (out / "index.json").exists() or (out / "packing.json").exists():
        pack(root, out, **options)  # type: ignore[arg-type]
    ok = all(
        torch.equal(a.streams[name], b.streams[name])
        for split in ("train", "val", "test")
        for a, b in zip(open_folder(root, split), open_folder(out, split), strict=True)  # type: ignore[call-overload]
        for name in a.streams
    )
    return "SIGKILL at a random moment of packing", killed, killed * ok


def damaged(path: Path, read: Callable[[], Any], change: Callable[[bytes], bytes], times: int, equal: Any) -> int:
    """How many of `times` damages to a file were named, or changed nothing that is read."""
    whole, good = path.read_bytes(), 0
    expected = read()
    for _ in range(times):
        path.write_bytes(change(whole))
        try:
            good += equal(read(), expected)
        except (ValueError, FileNotFoundError) as problem:
            good += path.name in str(problem) and len(str(problem).splitlines()) == 1
    path.write_bytes(whole)
    return good


def flip(content: bytes) -> bytes:
    """One bit the other way round."""
    at, changed = random.randrange(8 * len(content)), bytearray(content)
    changed[at // 8] ^= 1 << at % 8
    return bytes(changed)


def cut(content: bytes) -> bytes:
    """Without its end."""
    return content[: random.randrange(len(content))]


class Bomb:
    """Leaves a file behind when it is unpickled."""

    def __reduce__(self) -> Any:
        return Path.touch, (Path("exploded"),)


def files(root: Path, work: Path, times: int) -> list[Result]:
    """Flipped bits, truncation and pickles in every file that is read."""
    run, store = work / "files", work / "files-store"
    fit(root, run, epochs=1)
    pack(root, store, dtype="float32", shard_megabytes=1e-3)
    shard = store / "shards/train-00000.safetensors"
    npy, tsv = root / "feats/vggish/tr00.npy", store / "AVVP_train.csv"

    def tensors_equal(a: Any, b: Any) -> bool:
        return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)

    def video(folder: Path) -> Any:
        return lambda: AVVPFolder(folder, "train")[0].streams

    def resumed() -> Any:
        shutil.rmtree(work / "copy", ignore_errors=True)
        shutil.copytree(run, work / "copy")
        try:
            return fit(root, work / "copy", epochs=1).model.state_dict()
        except ValueError as problem:
            raise ValueError(str(problem).replace("copy", "files")) from None

    checked = {  # those with a checksum, which a flipped bit cannot get past
        "best weights": (run / "model.safetensors", lambda: read_tensors(run / "model.safetensors"), tensors_equal),
        "checkpoint": (run / "resume.safetensors", resumed, tensors_equal),
        "store's index": (store / "index.json", video(store), tensors_equal),
        "shard": (shard, video(store), tensors_equal),
    }
    results = []
    for name, (path, read, equal) in checked.items():
        n = times if name != "checkpoint" else times // 5
        results.append((f"flipped bit: {name}", n, damaged(path, read, flip, n, equal)))
    everything = checked | {
        "npy": (npy, video(root), tensors_equal),
        "store's annotations": (tsv, lambda: {"": AVVPFolder(store, "train").annotations.weak}, dict.__eq__),
    }
    for name, (path, read, equal) in everything.items():
        n = times if name != "checkpoint" else times // 5
        results.append((f"truncated: {name}", n, damaged(path, read, cut, n, equal)))
    os.chdir(work)
    for name, (path, read, _) in everything.items():
        if name == "store's annotations":
            continue
        never = damaged(path, read, lambda _: pickle.dumps({"model": Bomb()}), 1, lambda a, b: False)
        results.append((f"pickle in place of: {name}", 1, never * (not Path("exploded").exists())))
    return results


def dead_worker(root: Path, work: Path, expected: Any, times: int) -> Result:
    """A process that reads videos is killed."""
    out, killed = work / "worker", 0
    for _ in track(range(times), "reading processes", transient=True):
        process = fork.Process(target=silent, args=(fit, root, out), kwargs={"workers": 1})
        process.start()
        time.sleep(random.uniform(0.3, 1.0))
        children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
        for child in children:
            os.kill(int(child), signal.SIGKILL)
        process.join(120)
        killed += bool(children) and process.exitcode not in (0, None)
    return "reading process killed", killed, killed * same(fit(root, out), expected)


def memory(root: Path, work: Path) -> Result:
    """Fifty epochs: what the process holds after the tenth and at the end."""

    def child(pipe: Any) -> None:
        held = []
        original = TrainingProgress.epoch_done

        def epoch_done(*args: Any) -> None:
            held.append(_resident())
            original(*args)

        TrainingProgress.epoch_done = epoch_done  # type: ignore[method-assign]
        fit(root, work / "memory", epochs=50)
        pipe.send((held[9], held[-1]))

    ours, theirs = fork.Pipe()
    process = fork.Process(target=silent, args=(child, theirs))
    process.start()
    early, late = ours.recv()
    process.join()
    growth = late - early
    return f"memory from epoch 10 to 50: {early:.0f} MB {growth:+.1f} MB", 1, int(growth < 0.02 * early)


def _resident() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def main() -> None:
    """Print faults tried and survived."""
    kills, path = main_arguments(20)
    torch.set_num_threads(1)
    seed = time.time_ns() % 10**6
    random.seed(seed)
    results: list[Result] = []
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        root = write_data_set(work / "data")
        start = time.perf_counter()
        whole = fit(root, work / "whole")
        longest = 2 * (time.perf_counter() - start) / kills
        expected = {name: x.clone() for name, x in whole.model.state_dict().items()}
        results.append(stopped(root, work, expected, kills, signal.SIGKILL, longest))
        results.append(stopped(root, work, expected, kills // 2, signal.SIGINT, longest))
        results.append(stopped(root, work, expected, kills // 2, signal.SIGTERM, longest))
        results.append(full_disk(root, work, expected, kills // 2))
        results.append(dead_worker(root, work, expected, kills // 4))
        results.append(packing(root, work, kills))
        results += files(root, work, 10 * kills)
        results.append(memory(root, work))
    print_table("faults", ["fault", "tried", "survived or named"], results, path, kills=kills, seed=seed)
    sys.exit(any(tried != survived for _, tried, survived in results))


if __name__ == "__main__":
    main()
