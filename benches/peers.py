#!/usr/bin/env python3
"""Sets accessd's speed beside that of ONNX Runtime, OpenCV and faiss, and writes target/bench/report.json.

    python benches/peers.py [--soak FRAMES] [--blocks N] [--only TASK ...]

`make bench` sets up what this needs and runs it. Everything runs on one thread, pinned to one core, in turn: a block of
rounds of ours, then one of theirs, and so on, each after a warm-up. A time is the median over blocks of a block's
median; a ratio is the median over blocks of theirs to ours in that block, so that a machine whose speed drifts moves
both sides alike. Where a peer does less than ours (ONNX Runtime is given pixels as floats and gives back raw outputs,
with no letterbox, decoding of boxes or scaling to length 1), ours is measured with it all the same.
"""

import argparse
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

import cv2
import faiss
import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "target"
BENCH = TARGET / "bench"
ACCESSD = TARGET / "release" / "accessd"
WARM_UP = 3
SIDE = 320
YUNET = "face_detection_yunet_2023mar_int8bq"
SFACE = "face_recognition_sface_2021dec_int8bq"
PAD = "fr_liveness"
SHAPES = {YUNET: (1, 3, SIDE, SIDE), SFACE: (1, 3, 112, 112), PAD: (1, 3, 128, 128)}
TEMPLATES = 100_000
DIM = 128


def plain_onnx(name):
    """A published network with its block-quantised weights multiplied out, as the peers can read it."""
    path = BENCH / f"{name}.f32.onnx"
    if path.exists():
        return path
    model = onnx.load(TARGET / "downloads" / f"{name}.onnx")
    graph = model.graph
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    nodes = []
    for node in graph.node:
        if node.op_type != "DequantizeLinear":
            nodes.append(node)
            continue
        settings = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        values, scale, zero = (stored[i].astype(np.float32) for i in node.input)
        axis = settings.get("axis", 1) % values.ndim
        if scale.size > 1 and (block := settings.get("block_size", 0)):
            stretch = lambda a: np.repeat(a, block, axis).take(range(values.shape[axis]), axis)
            scale, zero = stretch(scale), stretch(zero)
        elif scale.size > 1:
            shape = [-1 if d == axis else 1 for d in range(values.ndim)]
            scale, zero = scale.reshape(shape), zero.reshape(shape)
        stored[node.output[0]] = (values - zero) * scale
    # Some 9,000 weights of one network are denormal numbers, which cost more than the rest together.
    used = {name for node in nodes for name in node.input}
    tensors = {k: np.where(np.abs(v) < 1e-20, 0, v).astype(v.dtype) if v.dtype == np.float32 else v for k, v in stored.items() if k in used}
    inputs = [i for i in graph.input if i.name in used and i.name not in tensors]
    graph.ClearField("node"), graph.node.extend(nodes)
    graph.ClearField("initializer"), graph.initializer.extend(numpy_helper.from_array(v, k) for k, v in tensors.items())
    graph.ClearField("input"), graph.input.extend(inputs)
    graph.ClearField("value_info")
    for source in graph.input:
        for side, size in zip(source.type.tensor_type.shape.dim, SHAPES[name], strict=True):
            side.dim_value = size
    for result in graph.output:
        for i, side in enumerate(result.type.tensor_type.shape.dim):
            side.dim_param = f"{result.name}_{i}"
    if max(o.version for o in model.opset_import if o.domain in ("", "ai.onnx")) > 13:
        model.ClearField("opset_import"), model.opset_import.append(helper.make_opsetid("", 13))
        model.ir_version = 8
    onnx.save(model, path)
    return path


def runtime(name):
    """ONNX Runtime on one thread; each call is one pass over noise."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(plain_onnx(name)), options, providers=["CPUExecutionProvider"])
    source = session.get_inputs()[0].name
    pixels = np.random.default_rng(1).uniform(0, 255, SHAPES[name]).astype(np.float32)
    return lambda: session.run(None, {source: pixels})


def ours(stage, *options, measure=None):
    """`accessd bench` for one stage: gives a function from a number of rounds to the median in ms."""
    stages = [word for one in stage.split() for word in ("--only", one)]

    def run(rounds):
        command = [ACCESSD, "bench", "--json", "--rounds", str(rounds), "--config", BENCH / "accessd.toml", *stages, *options]
        out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        return json.loads(out)["ms"][measure or stage]["median"]

    return run


def theirs(work):
    """The same for a function of a peer."""

    def run(rounds):
        for _ in range(WARM_UP):
            work()
        times = []
        for _ in range(rounds):
            start = time.perf_counter()
            work()
            times.append((time.perf_counter() - start) * 1000)
        return statistics.median(times)

    return run


def in_turn(blocks, rounds, **sides):
    """Runs the sides in turn. Gives each one's time in ms, and each peer's ratio to ours."""
    times = {side: [] for side in sides}
    for _ in range(blocks):
        for side, run in sides.items():
            times[side].append(run(rounds))
    found = {f"{side}_ms": statistics.median(all_) for side, all_ in times.items()}
    for side, all_ in times.items():
        if side != "ours":
            found[f"ratio_{side}"] = statistics.median(t / o for t, o in zip(all_, times["ours"], strict=True))
    return found


def pictures():
    """A face in 640x480, the same in 320x320, and its 112x112 crop; from a public-domain photograph."""
    photo = cv2.imread(str(TARGET / "photos" / "obama.jpg"))
    height, width = photo.shape[:2]
    side = min(width, height * 4 // 3)
    photo = photo[: side * 3 // 4, (width - side) // 2 :][:, :side]
    wide = cv2.resize(photo, (640, 480), interpolation=cv2.INTER_AREA)
    square = cv2.resize(wide[:, 80:560], (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    for name, picture in (("wide", wide), ("square", square)):
        cv2.imwrite(str(BENCH / f"{name}.png"), picture)
    return wide, square


def opencv_networks():
    detector = cv2.FaceDetectorYN.create(str(plain_onnx(YUNET)), "", (SIDE, SIDE), 0.7, 0.3, 100)
    return detector, cv2.FaceRecognizerSF.create(str(plain_onnx(SFACE)), "")


def sface(blocks):
    _, square = pictures()
    _, recogniser = opencv_networks()
    crop = cv2.resize(square, (112, 112), interpolation=cv2.INTER_AREA)
    return in_turn(
        blocks,
        10,
        ours=ours("embed"),
        onnxruntime=theirs(runtime(SFACE)),
        opencv=theirs(lambda: recogniser.feature(crop)),
    )


def yunet_320(blocks):
    _, square = pictures()
    detector, _ = opencv_networks()
    assert detector.detect(square)[1] is not None, "OpenCV finds no face in the picture that is measured with"
    return in_turn(
        blocks,
        30,
        ours=ours("detect", "--image", BENCH / "square.png"),
        onnxruntime=theirs(runtime(YUNET)),
        opencv=theirs(lambda: detector.detect(square)),
    )


def pad(blocks):
    _, square = pictures()
    network = cv2.dnn.readNetFromONNX(str(plain_onnx(PAD)))
    blob = cv2.dnn.blobFromImage(cv2.resize(square, (128, 128)))

    def forward():
        network.setInput(blob)
        network.forward()

    return in_turn(
        blocks,
        20,
        ours=ours("pad"),
        onnxruntime=theirs(runtime(PAD)),
        opencv=theirs(forward),
    )


def pipeline(blocks):
    """A frame to the embedding of its face. OpenCV gets the frame shrunk for its detector, as ours shrinks it."""
    wide, _ = pictures()
    detector, recogniser = opencv_networks()
    scale = SIDE / wide.shape[1]
    detector.setInputSize((SIDE, round(wide.shape[0] * scale)))

    def recognise():
        small = cv2.resize(wide, detector.getInputSize(), interpolation=cv2.INTER_AREA)
        face = detector.detect(small)[1][0].copy()
        face[:14] /= scale
        return recogniser.feature(recogniser.alignCrop(wide, face))

    stages = ours("detect align embed", "--image", BENCH / "wide.png", measure="recognise")
    return in_turn(blocks, 10, ours=stages, opencv=theirs(recognise))


def match_100k(blocks):
    rng = np.random.default_rng(1)
    templates = rng.standard_normal((TEMPLATES, DIM), dtype=np.float32)
    faiss.normalize_L2(templates)
    index = faiss.IndexFlatIP(DIM)
    index.add(templates)
    probe = templates[77_777:77_778].copy()
    search = theirs(lambda: index.search(probe, 2))
    found = in_turn(
        blocks,
        20,
        ours=ours("match", "--people", str(TEMPLATES)),
        faiss=search,
        copy=ours("copy", "--people", str(TEMPLATES)),
    )
    # Bytes a second: matching reads them, a copy reads and writes them.
    found["bytes_per_s_ratio_to_copy"] = found.pop("ratio_copy")
    return found


def memory_mb(pid):
    """Resident memory of a process now."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


def cpu_s(pid):
    """Processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Daemon:
    """`accessd run` on a clip in a loop, with 1,000 people, until the block ends."""

    def __init__(self, picture, options):
        self.folder = BENCH / "door"
        subprocess.run(["rm", "-rf", self.folder], check=True)
        clip = self.folder / "clip"
        clip.mkdir(parents=True)
        for i in range(10):
            cv2.imwrite(str(clip / f"{i}.jpg"), picture)
        self.config = self.folder / "accessd.toml"
        self.config.write_text(
            f'[camera]\nsource = "clip:{clip}?loop&{options}"\n[liveness]\nmode = "off"\n[door]\nrelay = "sim:{self.folder}/relay.log"\n'
            f'[paths]\nmodels = "{TARGET}/models"\ndatabase = "{self.folder}/accessd.db"\n'
            f'socket = "{self.folder}/control.sock"\n[log]\nlevel = "warn"\n'
        )
        crowd = ["bench", "--people", "1000", "--enrol-into", self.folder / "accessd.db"]
        subprocess.run([ACCESSD, *crowd, "--config", self.config], check=True, stdout=subprocess.DEVNULL)

    def __enter__(self):
        address = str(self.folder / "notify.sock")
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(address)
        self.notify.settimeout(30)
        self.trace = self.folder / "trace.jsonl"
        start = time.perf_counter()
        self.process = subprocess.Popen(
            [ACCESSD, "run", "--config", self.config, "--trace", self.trace],
            env={**os.environ, "NOTIFY_SOCKET": address},
        )
        while b"READY=1" not in self.notify.recv(4096):
            pass
        self.start_ms = (time.perf_counter() - start) * 1000
        self.notify.settimeout(None)
        threading.Thread(target=self.drain, daemon=True).start()
        return self

    def drain(self):
        """Takes what comes later, once a second, so that the socket never fills; ends when it is shut down."""
        while self.notify.recv(4096):
            pass

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(timeout=30)
        self.notify.shutdown(socket.SHUT_RD)
        self.notify.close()

    def frames(self):
        with self.trace.open("rb") as lines:
            return sum(chunk.count(b"\n") for chunk in iter(lambda: lines.read(1 << 20), b""))

    def until(self, frames, limit_s):
        deadline = time.monotonic() + limit_s
        while self.frames() < frames:
            if self.process.poll() is not None:
                sys.exit("accessd ended in the middle of the measurement")
            if time.monotonic() > deadline:
                sys.exit(f"accessd looked at {self.frames()} of {frames} frames in {limit_s} s")
            time.sleep(0.05)


def daemon(soak):
    """Start, memory and processor time of the running service."""
    wide, _ = pictures()
    found = {"people": 1000}
    with Daemon(wide, "pace=off") as one:
        one.until(100, 60)
        found["rss_mb"] = memory_mb(one.process.pid)
        one.until(soak, 60 + soak / 10)
        found |= {"soak_frames": soak, "soak_rss_mb": memory_mb(one.process.pid), "start_ms": one.start_ms}
    for name, picture in (("idle", np.full_like(wide, 120)), ("face", wide)):
        with Daemon(picture, "fps=15") as one:
            one.until(15, 60)
            start, used = time.monotonic(), cpu_s(one.process.pid)
            one.until(15 + 150, 120)
            used, took = cpu_s(one.process.pid) - used, time.monotonic() - start
            found[f"cpu_{name}_percent"] = 100 * used / took
    return found


TASKS = {"sface": sface, "yunet_320": yunet_320, "pad": pad, "pipeline_640x480": pipeline, "match_100k": match_100k}


def measured_before(this):
    """What the report has of another call on this machine with these peers, when a call measures a part only."""
    try:
        before = json.loads((BENCH / "report.json").read_text())
    except (OSError, ValueError):
        return {}
    return before if all(before.get(key) == value for key, value in this.items()) else {}


def table(report):
    lines = [f"{'':18}{'accessd':>9}{'ONNX Runtime':>15}{'':>7}{'OpenCV':>9}{'':>7}{'faiss':>9}{'':>7}"]
    for task in TASKS:
        if task not in report:
            continue
        row = report[task]
        line = f"{task:18}{row['ours_ms']:9.2f}"
        for peer, width in (("onnxruntime", 15), ("opencv", 9), ("faiss", 9)):
            ms, ratio = row.get(f"{peer}_ms"), row.get(f"ratio_{peer}")
            line += f"{ms:{width}.2f}{f'{ratio:.2f}x':>7}" if ms else " " * (width + 7)
        lines.append(line.rstrip())
    return "\n".join(lines)


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--soak", type=int, default=1000, help="frames before memory is measured again")
    arguments.add_argument("--blocks", type=int, default=9, help="blocks of rounds of each side")
    arguments.add_argument("--only", nargs="+", choices=[*TASKS, "daemon"], default=[*TASKS, "daemon"])
    options = arguments.parse_args()

    os.chdir(ROOT)
    BENCH.mkdir(parents=True, exist_ok=True)
    (BENCH / "accessd.toml").write_text(f'[paths]\nmodels = "{TARGET}/models"\n[vision]\ndetect_px = {SIDE}\nthreads = 1\n')
    cores = sorted(os.sched_getaffinity(0))
    # The daemon's threads share the machine as they will at a door; everything else has one core.
    found = daemon(options.soak) if "daemon" in options.only else {}
    os.sched_setaffinity(0, {cores[-1]})
    cv2.setNumThreads(1)
    faiss.omp_set_num_threads(1)

    report = {
        "machine": platform.processor() or platform.machine(),
        "peers": {m.__name__: m.__version__ for m in (onnxruntime, cv2, faiss)},
    }
    if len(options.only) <= len(TASKS):
        report = measured_before(report) | report
    for task in (task for task in TASKS if task in options.only):
        report[task] = TASKS[task](options.blocks)
        print(f"measured {task}", file=sys.stderr)
    report |= found
    (BENCH / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    print("Median ms on one thread, and how many times accessd's time that is:\n")
    print(table(report))
    if found:
        print(
            f"\nservice with {found['people']} people: ready after {found['start_ms']:.0f} ms, "
            f"{found['rss_mb']:.0f} MB after 100 frames, {found['soak_rss_mb']:.0f} MB after {found['soak_frames']}; "
            f"at 15 frames/s {found['cpu_idle_percent']:.0f} % of a core with nobody in view, "
            f"{found['cpu_face_percent']:.0f} % with a face"
        )


if __name__ == "__main__":
    main()
