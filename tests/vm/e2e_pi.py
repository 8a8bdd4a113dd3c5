#!/usr/bin/python3
"""accessd on a virtual Raspberry Pi 3B: Debian's arm64 kernel, the arm64 package, the relay on pin GPIO17 by rppal.

    make e2e-pi     does what this needs and runs it; target/e2e-pi has report.json and the serial logs

The pin is read from outside, in the board's registers, past the guest. The cases are few, because the board computes
slowly here: it starts, opens for somebody, refuses somebody, and is killed while the strike is energised.
"""

import os
import sys
import time
from pathlib import Path

import guest
from harness import ROOT, Door, Report, demand, event_time, scenes
from vm import GuestError, fresh_disk

OUT, CACHE = ROOT / "target/e2e-pi", ROOT / "target/vm"
PIN = 17
RELEASED_AFTER_KILL = 1.0
A_LOOK = 500


class Pi(Door):
    """The virtual board."""

    def energised(self):
        """Whether the relay's pin is driven high. A pin that is no output follows its pull, which holds the relay off."""
        return self.machine.pin_is_driven(PIN) and self.machine.pin_is_high(PIN)

    def wait_pin(self, energised, seconds):
        """Looks at the pin until it is so; when that was, on this machine's clock."""
        deadline = time.monotonic() + seconds
        while self.energised() != energised:
            if time.monotonic() > deadline:
                raise GuestError(f"the pin is not {'energised' if energised else 'released'} within {seconds} s")
            time.sleep(0.005)
        return time.monotonic()

    def energise(self):
        self.run("cd /run/door/REX && echo pull-up > pull && sleep 1 && echo pull-down > pull")
        self.wait_pin(True, 30)


def main():
    report = Report(OUT, "Raspberry Pi 3B, kernel 6.12, software emulation")
    guest.build("arm64", CACHE)
    files = scenes(OUT / "scenes") | {"/root/accessd.deb": ROOT / f"target/debs/accessd_{sys.argv[1]}_arm64.deb"}
    for name in ("accessd-pi.toml", "accessd-pi.conf"):
        files[f"/root/{name}"] = ROOT / "tests/vm" / name
    disk = fresh_disk(CACHE, "arm64", OUT / "disk.ext4", files)
    door = Pi(CACHE, "arm64", disk, OUT)
    try:
        cases(door, report)
    finally:
        if door.machine:
            door.cut_power()
        os.unlink(disk)
    return report.close()


def cases(door, report):
    with report.case("boot") as figures:
        figures["agent after s"] = door.switch_on()
        figures["board"] = door.run("tr -d '\\0' < /proc/device-tree/model")
        demand(not door.energised(), "the pin is energised at power-on")
        door.run("ln -s /srv/scenes/nobody /srv/scene && systemctl restart camera-feed", 120)
    with report.case("install and start") as figures:
        door.run("dpkg -i /root/accessd.deb", 600)
        door.run("install -m 640 -g accessd /root/accessd-pi.toml /etc/accessd/accessd.toml")
        door.run("install -D -m 644 /root/accessd-pi.conf /etc/systemd/system/accessd.service.d/board.conf")
        begun = time.monotonic()
        door.run("systemctl daemon-reload && systemctl enable --now accessd", 400)
        door.wait_ready(400)
        figures["ready after s"] = round(time.monotonic() - begun, 1)
        demand(door.machine.pin_is_driven(PIN) and not door.energised(), "the pin is not driven inactive")
        demand(f"rppal:{PIN}" in door.state()["relay"], "the relay is not the board's pin")
    with report.case("enrol from a picture") as figures:
        figures["said"] = door.run("accessd enroll --name Ada --images /srv/scenes/obama/0.jpg", A_LOOK)
    with report.case("a stranger stays out") as figures:
        last, begun = door.last_event(), door.now()
        door.show("biden")
        event = door.wait_for_event("refusal", last, A_LOOK)
        door.show("nobody")
        figures["refused after s"] = round(event_time(event) - begun, 1)
        demand(event["detail"]["reason"] == "unknown", f"refused as {event['detail']['reason']}")
        demand(not door.energised() and not door.log("unlocked"), "the door opened")
    with report.case("an enrolled person opens") as figures:
        last, begun = door.last_event(), door.now()
        door.show("obama2")
        opened = door.wait_pin(True, A_LOOK)
        door.show("nobody")
        closed = door.wait_pin(False, 60)
        event = door.wait_for_event("grant", last, 30)
        demand(event["person"]["name"] == "Ada", f"{event['person']} was let in")
        figures["granted after s"] = round(event_time(event) - begun, 1)
        figures["score"] = round(event["detail"]["best"]["score"], 2)
        figures["open for s"] = round(closed - opened, 1)
    with report.case("service killed while energised") as figures:
        before = door.pid()
        door.energise()
        # Sent by the guest in a moment of its own, so that the pin is watched from before the signal.
        door.run(f"systemd-run -q --on-active=2 --timer-property=AccuracySec=1ms sh -c 'date +%s.%N > /run/killed; kill -KILL {before}'")
        here, there = time.monotonic(), door.now()
        demand(door.energised(), "the pin was released before the kill")
        released = door.wait_pin(False, 60)
        killed = here + float(door.run("cat /run/killed")) - there
        figures["released after s"] = round(released - killed, 3)
        demand(released - killed <= RELEASED_AFTER_KILL, f"the strike was energised for {released - killed:.2f} s")
        door.until("another process", 200, f"test $(systemctl show accessd -p MainPID --value) -gt 0 -a $(systemctl show accessd -p MainPID --value) -ne {before}")
        door.wait_ready(400)
        demand(not door.energised(), "the pin is energised after the restart")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"{__doc__}\nusage: {Path(sys.argv[0]).name} VERSION")
    sys.exit(main())
