"""The classic Siamese network on ORL in PyTorch: same data, split, batch, loss, optimiser, schedule and epochs as
`benches/training/orl.toml`. Prints one JSON line for each epoch and one with the equal error rate on the unseen people.

    python peer.py --data orl --epochs 30 --seed 1
"""

import argparse
import json
import math
import pathlib
import random
import re
import time

import numpy
import torch
from torch import nn
from torch.nn import functional as F

def read_pgm(path):
    data = path.read_bytes()
    magic, width, height = re.sub(rb"#[^\n]*\n", b"", data[:200]).split(None, 3)[:3]
    assert magic == b"P5", path
    width, height = int(width), int(height)
    pixels = numpy.frombuffer(data[-width * height:], numpy.uint8).reshape(height, width)
    picture = torch.from_numpy(pixels.copy()).float()[None, None]
    # The shorter side to 112, the middle 100×100 of that, as accessd does it.
    size = (round(height * 112 / width), 112)
    picture = F.interpolate(picture, size=size, mode="bilinear", align_corners=False).round()
    top, left = (size[0] - 112) // 2 + 6, 6
    return (picture[0, :, top:top + 100, left:left + 100] - 127.5) / 64.0


class Branch(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU(), nn.MaxPool2d(2))
            for a, b in [(1, 16), (16, 32), (32, 64)]
        )
        self.fc1, self.fc1_bn, self.fc2 = nn.Linear(64 * 144, 256), nn.BatchNorm1d(256), nn.Linear(256, 64)
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, xs):
        for block in self.blocks:
            xs = block(xs)
        return F.normalize(self.fc2(F.relu(self.fc1_bn(self.fc1(xs.flatten(1))))), eps=1e-6)


def batch(people, pairs):
    left, right, genuine = [], [], []
    for _ in range(pairs):
        same = random.random() < 0.5
        if same:
            a, b = random.sample(random.choice(people), 2)
        else:
            a, b = (random.choice(person) for person in random.sample(people, 2))
        left.append(a)
        right.append(b)
        genuine.append(same)
    return torch.stack(left + right), torch.tensor(genuine).float()


def equal_error_rate(branch, people):
    branch.eval()
    with torch.no_grad():
        rows = branch(torch.stack([picture for person in people for picture in person]))
    owner = torch.tensor([i for i, person in enumerate(people) for _ in person])
    scores, same = rows @ rows.T, owner[:, None] == owner[None, :]
    upper = torch.triu(torch.ones_like(same), diagonal=1)
    genuine, impostor = scores[same & upper], scores[~same & upper]
    # Where FMR and FNMR cross as the threshold rises, on the straight line between two operating points.
    before = (1.0, 0.0)
    cuts = torch.cat([scores[upper].unique(), torch.tensor([2.0])])
    for cut in cuts:
        now = ((impostor >= cut).double().mean().item(), (genuine < cut).double().mean().item())
        if now[1] >= now[0]:
            gap, after = before[0] - before[1], now[1] - now[0]
            return before[1] + (gap / (gap + after) if gap + after else 0.0) * (now[1] - before[1])
        before = now


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--unseen", default="s38,s39,s40")
    args = parser.parse_args()
    random.seed(args.seed)
    torch.manual_seed(args.seed)
    people = {p.name: [read_pgm(f) for f in sorted(p.glob("*.pgm"))] for p in sorted(args.data.iterdir()) if p.is_dir()}
    unseen = args.unseen.split(",")
    train = [pictures for name, pictures in people.items() if name not in unseen]
    test = [people[name] for name in unseen]
    branch = Branch()
    decay = [p for p in branch.parameters() if p.dim() > 1]
    plain = [p for p in branch.parameters() if p.dim() == 1]
    groups = [{"params": decay, "weight_decay": 1e-4}, {"params": plain, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=1e-3)
    steps = math.ceil(sum(map(len, train)) * 4 / 64)
    for epoch in range(args.epochs):
        branch.train()
        began, used, total = time.perf_counter(), time.process_time(), 0.0
        for step in range(steps):
            at = epoch + (step + 0.5) / steps
            rate = at / 0.5 if at < 0.5 else 0.5 * (1 + math.cos(math.pi * (at - 0.5) / (args.epochs - 0.5)))
            for group in optimiser.param_groups:
                group["lr"] = 1e-3 * rate
            pictures, genuine = batch(train, 32)
            rows = branch(pictures)
            distance = ((rows[:32] - rows[32:]).square().sum(1) + 1e-9).sqrt()
            loss = (genuine * distance.square() + (1 - genuine) * F.relu(1.0 - distance).square()).mean() / 2
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(branch.parameters(), 5.0)
            optimiser.step()
            total += loss.item()
        seconds, cpu = time.perf_counter() - began, time.process_time() - used
        print(json.dumps({"epoch": epoch + 1, "loss": total / steps, "seconds": seconds, "cpu_seconds": cpu}), flush=True)
    print(json.dumps({"seed": args.seed, "eer": equal_error_rate(branch, test)}))


if __name__ == "__main__":
    main()
