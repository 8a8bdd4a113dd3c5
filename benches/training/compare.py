"""accessd and PyTorch train the same network on the same faces, in turn, with the same settings: seconds and CPU seconds
of an epoch, and the equal error rate on the people never seen. Prints a table in Markdown.

    python compare.py --accessd target/release/accessd --data orl --out target/peer
"""

import argparse
import json
import pathlib
import resource
import shutil
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).parent


def cpu_seconds():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def accessd(args, seed):
    run = args.out / f"accessd-{seed}"
    shutil.rmtree(run, ignore_errors=True)
    before = cpu_seconds()
    subprocess.run(
        [args.accessd, "--quiet", "--config", HERE / "orl.toml", "train", "--data", args.data, "--out", run,
         "--epochs", str(args.epochs), "--seed", str(seed)],
        check=True, stdout=subprocess.DEVNULL,
    )
    cpu = (cpu_seconds() - before) / args.epochs
    results = json.loads((run / "results.json").read_text())
    return results["epoch_seconds"], cpu, results["loss"], results["eer"]


def torch(args, seed):
    before = cpu_seconds()
    done = subprocess.run(
        [sys.executable, HERE / "peer.py", "--data", args.data, "--epochs", str(args.epochs), "--seed", str(seed)],
        check=True, stdout=subprocess.PIPE, text=True,
    )
    cpu = (cpu_seconds() - before) / args.epochs
    *epochs, last = [json.loads(line) for line in done.stdout.splitlines()]
    return statistics.median(e["seconds"] for e in epochs), cpu, epochs[-1]["loss"], last["eer"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--accessd", type=pathlib.Path, required=True)
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    args.accessd, args.out = args.accessd.resolve(), args.out.resolve()
    print("| program | seed | s an epoch | CPU s an epoch | last loss | EER |\n|---|---|---|---|---|---|")
    rows = {"accessd": [], "PyTorch": []}
    for seed in range(1, args.seeds + 1):
        for name, train in (("accessd", accessd), ("PyTorch", torch)):
            row = train(args, seed)
            rows[name].append(row)
            seconds, cpu, loss, eer = row
            print(f"| {name} | {seed} | {seconds:.2f} | {cpu:.2f} | {loss:.4f} | {100 * eer:.2f} % |", flush=True)
    for name, all_rows in rows.items():
        seconds, cpu, loss, eer = (statistics.mean(column) for column in zip(*all_rows))
        print(f"| {name} | mean | {seconds:.2f} | {cpu:.2f} | {loss:.4f} | {100 * eer:.2f} % |")


if __name__ == "__main__":
    main()
