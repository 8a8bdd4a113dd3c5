"""accessd and PyTorch train the same network on the same faces, in turn, with the same settings: seconds and CPU seconds
of an epoch, and the equal error rate on the people never seen. Prints a table in Markdown, the means and what the
difference of the two means is worth. results.jsonl in the output folder has every run; --resume does not repeat those.

    python compare.py --accessd target/release/accessd --data orl --out target/peer
    python compare.py … --unseen 10 --seeds 12        # a larger test: the last ten people, twelve seeds
"""

import argparse
import json
import math
import os
import pathlib
import re
import resource
import shutil
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
SETTINGS = HERE / "orl.toml"


def cpu_seconds():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def unseen(args):
    """The last people by their numbers: s38, s39 and s40 for three."""
    people = sorted((p.name for p in args.data.iterdir() if p.is_dir()), key=lambda name: int(re.sub(r"\D", "", name) or 0))
    return people[-args.unseen :]


def accessd(args, seed):
    run = args.out / f"accessd-{args.unseen}-{args.epochs}-{seed}"
    shutil.rmtree(run, ignore_errors=True)
    settings = args.out / "settings.toml"
    people = f"test_people = {json.dumps(unseen(args))}"
    settings.write_text(re.sub(r"test_people = .*", people, SETTINGS.read_text()))
    subprocess.run(
        [args.accessd, "--quiet", "--config", settings, "train", "--data", args.data, "--out", run,
         "--epochs", str(args.epochs), "--seed", str(seed)],
        check=True, stdout=subprocess.DEVNULL,
    )
    results = json.loads((run / "results.json").read_text())
    return {"seconds": results["epoch_seconds"], "loss": results["loss"], "eer": results["eer"]}


def torch(args, seed):
    done = subprocess.run(
        [sys.executable, HERE / "peer.py", "--data", args.data, "--epochs", str(args.epochs), "--seed", str(seed),
         "--unseen", ",".join(unseen(args))],
        check=True, stdout=subprocess.PIPE, text=True,
    )
    *epochs, last = [json.loads(line) for line in done.stdout.splitlines()]
    return {"seconds": statistics.median(e["seconds"] for e in epochs), "loss": epochs[-1]["loss"], "eer": last["eer"]}


def known(args):
    """The runs that were made before, by program and seed."""
    if not (args.resume and args.results.exists()):
        return {}
    runs = [json.loads(line) for line in args.results.read_text().splitlines()]
    same = [r for r in runs if (r["unseen"], r["epochs"]) == (args.unseen, args.epochs)]
    return {(r["program"], r["seed"]): r for r in same}


def run(args, name, train, seed):
    before = cpu_seconds()
    row = {"program": name, "seed": seed, "unseen": args.unseen, "epochs": args.epochs} | train(args, seed)
    row["cpu"] = (cpu_seconds() - before) / args.epochs
    with args.results.open("a") as file:
        file.write(json.dumps(row) + "\n")
    return row


def line(name, seed, rows):
    seconds, cpu, loss, eer = (statistics.mean(r[k] for r in rows) for k in ("seconds", "cpu", "loss", "eer"))
    spread = f" ± {100 * statistics.stdev(r['eer'] for r in rows):.2f}" if len(rows) > 1 else ""
    print(f"| {name} | {seed} | {seconds:.2f} | {cpu:.2f} | {loss:.4f} | {100 * eer:.2f}{spread} % |", flush=True)


def worth(ours, theirs):
    """The difference of the two mean rates with its 95 % interval, after Welch, seeds taken as the draws."""
    means = [statistics.mean(r["eer"] for r in rows) for rows in (ours, theirs)]
    parts = [statistics.variance([r["eer"] for r in rows]) / len(rows) for rows in (ours, theirs)]
    freedom = sum(parts) ** 2 / sum(part**2 / (len(rows) - 1) for part, rows in zip(parts, (ours, theirs)))
    half = quantile(freedom) * math.sqrt(sum(parts))
    gap = means[0] - means[1]
    print(f"\nEER, accessd less PyTorch: {100 * gap:+.2f} points (95 %: {100 * (gap - half):+.2f} to {100 * (gap + half):+.2f})")
    for what in ("seconds", "cpu"):
        ratio = statistics.mean(r[what] for r in ours) / statistics.mean(r[what] for r in theirs)
        print(f"{'CPU seconds' if what == 'cpu' else 'seconds'} an epoch, accessd to PyTorch: {ratio:.2f}")


def quantile(freedom):
    """Student's t at 97.5 %: Cornish and Fisher's expansion, within 1 % from three degrees of freedom on."""
    z = 1.959964
    terms = [z, (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96, (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384]
    return sum(term / freedom**power for power, term in enumerate(terms))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--accessd", type=pathlib.Path, required=True)
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--unseen", type=int, default=3)
    parser.add_argument("--resume", action="store_true")
    args = parser.parse_args()
    args.accessd, args.out = args.accessd.resolve(), args.out.resolve()
    args.out.mkdir(parents=True, exist_ok=True)
    args.results = args.out / "results.jsonl"
    # Threads that wait in PyTorch's pool would otherwise count as work.
    os.environ["OMP_WAIT_POLICY"] = "passive"
    print("| program | seed | s an epoch | CPU s an epoch | last loss | EER |\n|---|---|---|---|---|---|")
    done, rows = known(args), {"accessd": [], "PyTorch": []}
    for seed in range(1, args.seeds + 1):
        for name, train in (("accessd", accessd), ("PyTorch", torch)):
            row = done.get((name, seed)) or run(args, name, train, seed)
            rows[name].append(row)
            line(name, seed, [row])
    for name, all_rows in rows.items():
        line(name, "mean", all_rows)
    if args.seeds > 1:
        worth(rows["accessd"], rows["PyTorch"])


if __name__ == "__main__":
    main()
