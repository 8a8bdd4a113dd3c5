"""What the tests of both virtual doors share: a door in a machine, cases with their measured times, and the report."""

import contextlib
import json
import shutil
import subprocess
import time
import traceback
from datetime import datetime
from pathlib import Path

from vm import GuestError, Machine, until

ROOT = Path(__file__).resolve().parent.parent.parent
MODELS, PHOTOS = ROOT / "target/models", ROOT / "target/photos"
# Whose photographs stand for whom. `enrolled` is taken from one photograph and seen in another.
PEOPLE = {"enrolled": "obama", "seen": "obama2", "stranger": "biden", "newcomer": "astronaut"}


class Wrong(Exception):
    """The door did not do what it must."""


def demand(holds, otherwise):
    if not holds:
        raise Wrong(otherwise)


class Report:
    """The cases, printed as they end and kept in report.json."""

    def __init__(self, folder, kind):
        self.folder, self.kind, self.cases = folder, kind, []
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self.begun = time.monotonic()

    @contextlib.contextmanager
    def case(self, name):
        """One case: its body puts figures into the dictionary it is given, and raises when something is wrong."""
        begun, figures = time.monotonic(), {}
        entry = {"case": name, "ok": False, "figures": figures}
        self.cases.append(entry)
        try:
            yield figures
            entry["ok"] = True
        except Exception as error:  # noqa: BLE001 - whatever goes wrong in a case is its result
            entry["error"] = str(error)
            if not isinstance(error, (Wrong, GuestError)):
                entry["error"] = traceback.format_exc()
        entry["took_s"] = round(time.monotonic() - begun, 1)
        told = ", ".join(f"{what} {value}" for what, value in figures.items())
        print(f"{'ok  ' if entry['ok'] else 'FAIL'} {name:<44} {entry['took_s']:6.1f} s  {told}", flush=True)
        if not entry["ok"]:
            print("     " + entry["error"].replace("\n", "\n     "), flush=True)
        self.write()

    def write(self):
        took = round(time.monotonic() - self.begun)
        whole = {"machine": self.kind, "ok": self.ok(), "took_s": took, "cases": self.cases}
        (self.folder / "report.json").write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")

    def ok(self):
        return bool(self.cases) and all(entry["ok"] for entry in self.cases)

    def close(self):
        failed = [entry["case"] for entry in self.cases if not entry["ok"]]
        took = time.monotonic() - self.begun
        print(f"{len(self.cases) - len(failed)} of {len(self.cases)} cases in {took:.0f} s; {self.folder}/report.json")
        return 1 if failed or not self.cases else 0


def scenes(folder):
    """What the camera will see: {path in the guest: path here}."""
    program = ROOT / "target/debug/examples/scenes"
    photos = [next(PHOTOS.glob(f"{name}.*")) for name in PEOPLE.values()]
    subprocess.run([program, MODELS, folder, *photos], check=True)
    return {f"/srv/scenes/{path.relative_to(folder)}": path for path in folder.rglob("*.jpg")}


class Door:
    """A machine with accessd in it, as one switches it on, uses it and cuts its power."""

    def __init__(self, cache, arch, disk, folder):
        self.cache, self.arch, self.disk, self.folder = cache, arch, disk, folder
        self.machine, self.boots = None, 0

    def switch_on(self):
        """Boots; the seconds until the guest takes commands."""
        self.boots += 1
        self.machine = Machine(self.cache, self.arch, self.disk, self.folder / f"serial-{self.boots}.log")
        return round(self.machine.wait_for_agent(), 1)

    def cut_power(self):
        """Ends the boot, when what it wrote so far has been kept for who looks for a fault."""
        with contextlib.suppress(GuestError):
            kept = {"events": "accessd log --json -n 10000", "journal": "journalctl -b --no-pager -n 400"}
            for name, command in kept.items():
                text = self.machine.attempt(command)[1]
                (self.folder / f"{name}-{self.boots}.txt").write_text(text + "\n", encoding="utf-8")
        self.machine.cut_power()

    def run(self, command, seconds=60):
        return self.machine.run(command, seconds)

    def until(self, what, seconds, command, pause=0.3):
        """Waits until a command succeeds; its output."""

        def probe():
            status, output = self.machine.attempt(command)
            return status == 0 and (output or "yes")

        return until(what, seconds, probe, pause)

    def now(self):
        """The guest's wall clock in s."""
        return float(self.run("date +%s.%N"))

    # --- the service

    def wait_ready(self, seconds=240):
        """Waits until systemd counts the service as up and running."""
        try:
            self.until("the service is ready", seconds, "systemctl is-active --quiet accessd", 0.5)
        except GuestError as error:
            journal = self.run("journalctl -u accessd -n 30 --no-pager")
            raise GuestError(f"{error}\n{journal}") from error

    def pid(self):
        return int(self.run("systemctl show accessd -p MainPID --value"))

    def log(self, *kinds):
        """The journal's events of these kinds, oldest first."""
        wanted = f" --kind {','.join(kinds)}" if kinds else ""
        lines = self.run(f"accessd log --json -n 10000{wanted}").splitlines()
        return [json.loads(line) for line in lines]

    def wait_for_event(self, kind, after, seconds):
        """The first event of a kind with a higher number than `after`."""

        def probe():
            return next((event for event in self.log(kind) if event["id"] > after), None)

        return until(f"an event {kind!r}", seconds, probe, 0.5)

    def last_event(self):
        events = self.log()
        return events[-1]["id"] if events else 0

    # --- the camera

    def show(self, scene):
        """Puts a scene before the camera."""
        self.run(f"ln -sfn /srv/scenes/{scene} /srv/scene.new && mv -T /srv/scene.new /srv/scene")

    def state(self):
        status = json.loads(self.run("accessd status --json"))
        # There is one door.
        return {**status, **status["doors"][0]}


def event_time(event):
    """When an event was written, in s of the wall clock."""
    return datetime.fromisoformat(event["wall"]).timestamp()
