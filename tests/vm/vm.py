"""A virtual machine with a door: started, asked to run commands, watched from outside, and robbed of its power.

`Machine` is one run of qemu, from power-on to `cut_power`; the disk is a file that outlives it. Emulation is by software
alone: hardware virtualisation is not everywhere, and where it is it changes what is measured.
"""

import base64
import ctypes
import json
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

# Registers of the Raspberry Pi 3's GPIO block as the processor sees them: function of pins 0 to 9, and levels.
PI_GPIO = 0x3F200000
PI_LEVELS = PI_GPIO + 0x34


class GuestError(Exception):
    """A command in the guest failed, or the guest does not answer."""


def until(what, seconds, probe, pause=0.2):
    """Asks `probe` until it gives something true, and returns that."""
    deadline = time.monotonic() + seconds
    while True:
        found = probe()
        if found:
            return found
        if time.monotonic() > deadline:
            raise GuestError(f"{what}: not within {seconds} s")
        time.sleep(pause)


def fresh_disk(cache, arch, path, files):
    """A copy of the guest's disk with `files`, {path in the guest: path here}, written into it."""
    subprocess.run(["cp", "--sparse=always", f"{cache}/{arch}/disk.ext4", path], check=True)
    script, made = [], set()
    for inside, outside in files.items():
        for folder in reversed(Path(inside).parents[:-1]):
            if folder not in made:
                script.append(f"mkdir {folder}")
                made.add(folder)
        script += [f"write {outside} {inside}", f"set_inode_field {inside} mode 0100644"]
    text = "\n".join(script) + "\n"
    done = subprocess.run(["debugfs", "-w", "-f", "-", path], input=text, text=True, capture_output=True, check=True)
    # debugfs ends well whatever happens, and making a folder that is there is no harm: sizes tell.
    for inside, outside in files.items():
        told = subprocess.run(["debugfs", "-R", f"stat {inside}", path], text=True, capture_output=True).stdout
        size = Path(outside).stat().st_size
        if f"Size: {size}\n" not in told:
            raise GuestError(f"{outside} did not get into {path}: is the disk full?\n{done.stdout}{done.stderr}{told}")
    return path


class Machine:
    """A running machine."""

    def __init__(self, cache, arch, disk, log):
        self.arch, self.log, self.on_since = arch, Path(log), time.monotonic()
        self.requests = 0
        self.sockets = Path(tempfile.mkdtemp(prefix="vm-"))
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.log.write_bytes(b"")
        self.errors = (self.sockets / "errors").open("w+")
        files = Path(cache) / arch
        self.qemu = subprocess.Popen(
            self.command(files, disk), stdin=subprocess.DEVNULL, stderr=self.errors, preexec_fn=end_with_parent
        )
        self.line = self.connect("agent")
        self.unread = b""
        self.monitor = self.connect("monitor").makefile("rw")
        self.monitor.readline()
        self.order("qmp_capabilities")

    def command(self, files, disk):
        quiet = "systemd.show_status=0 panic=-1"
        common = ["-accel", "tcg,thread=multi,tb-size=512", "-display", "none", "-monitor", "none", "-no-reboot"]
        common += ["-kernel", f"{files}/kernel.img", "-initrd", f"{files}/initrd.img", "-serial", f"file:{self.log}"]
        common += ["-qmp", f"unix:{self.sockets}/monitor,server=on,wait=off"]
        common += ["-chardev", f"socket,id=agent,path={self.sockets}/agent,server=on,wait=off"]
        if self.arch == "amd64":
            return [
                "qemu-system-x86_64", "-M", "q35", "-nodefaults", "-cpu", "max", "-smp", "2", "-m", "1024", *common,
                "-append", f"root=/dev/vda console=ttyS0 mitigations=off {quiet}",
                "-drive", f"file={disk},if=virtio,format=raw", "-device", "virtio-serial-pci",
                "-device", "virtserialport,chardev=agent,name=agent",
            ]  # fmt: skip
        # Two of the four cores: the others would spin until Linux takes them. iomem=relaxed lets rppal map the pins.
        return [
            "qemu-system-aarch64", "-M", "raspi3b", *common, "-serial", "chardev:agent", "-dtb", f"{files}/board.dtb",
            "-global", "bcm2837.enabled-cpus=2", "-drive", f"file={disk},if=sd,format=raw", "-append",
            f"root=/dev/mmcblk0 console=ttyAMA0,115200 8250.nr_uarts=2 iomem=relaxed maxcpus=2 {quiet}",
        ]  # fmt: skip

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.cut_power()

    def connect(self, name):
        def attempt():
            self.must_live()
            line = socket.socket(socket.AF_UNIX)
            try:
                line.connect(str(self.sockets / name))
            except OSError:
                line.close()
                return None
            return line

        return until(f"qemu's {name}", 30, attempt, 0.05)

    def must_live(self):
        if self.qemu.poll() is not None:
            self.errors.seek(0)
            raise GuestError(f"qemu ended with {self.qemu.returncode}: {self.errors.read()}\n{self.console()[-2000:]}")

    def console(self):
        """What the guest's kernel has said."""
        return self.log.read_text(errors="replace")

    def cut_power(self):
        """Ends the machine between two instructions. What the guest had not synced is lost."""
        if self.qemu.poll() is None:
            self.qemu.send_signal(signal.SIGKILL)
        self.qemu.wait()
        self.line.close()
        shutil.rmtree(self.sockets, ignore_errors=True)

    # --- inside

    def wait_for_agent(self, seconds=300):
        """Waits until the guest takes commands; the seconds since power-on."""
        self.read_to(b"agent ready\n", seconds)
        return time.monotonic() - self.on_since

    def read_to(self, mark, seconds):
        deadline = time.monotonic() + seconds
        while mark not in self.unread:
            self.must_live()
            if time.monotonic() > deadline:
                raise GuestError(f"the guest said nothing for {seconds} s; console: {self.console()[-1500:]}")
            self.line.settimeout(1)
            try:
                self.unread += self.line.recv(1 << 16)
            except TimeoutError:
                continue
        before, self.unread = self.unread.split(mark, 1)
        return before

    def attempt(self, command, seconds=60):
        """Runs a bash command in the guest: (status, output). 124 is its status when it takes longer than `seconds`."""
        self.requests += 1
        coded = base64.b64encode(command.encode()).decode()
        self.line.settimeout(60)
        self.line.sendall(f"{self.requests} {seconds} {coded}\n".encode())
        number, status, length = self.read_to(b"\n", seconds + 60).split()
        if int(number) != self.requests:
            raise GuestError(f"the answer to request {number.decode()} came for request {self.requests}")
        length = int(length)
        deadline = time.monotonic() + 60 + length / 5000
        while len(self.unread) < length:
            self.must_live()
            if time.monotonic() > deadline:
                raise GuestError(f"{command}: its output did not arrive")
            self.line.settimeout(1)
            try:
                self.unread += self.line.recv(1 << 16)
            except TimeoutError:
                continue
        output, self.unread = self.unread[:length], self.unread[length:]
        return int(status), output.decode(errors="replace").rstrip("\n")

    def run(self, command, seconds=60):
        """Runs a bash command that must succeed; its output."""
        status, output = self.attempt(command, seconds)
        if status:
            raise GuestError(f"status {status} of: {command}\n{output}")
        return output

    # --- outside

    def order(self, command, **arguments):
        """Gives qemu's monitor a command."""
        self.monitor.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self.monitor.flush()
        for line in self.monitor:
            answer = json.loads(line)
            if "return" in answer:
                return answer["return"]
            if "error" in answer:
                raise GuestError(f"qemu's monitor: {answer['error']['desc']}")
        raise GuestError("qemu's monitor hung up")

    def register(self, address):
        """A 32-bit register of the board, read past the guest."""
        told = self.order("human-monitor-command", **{"command-line": f"xp /1wx {address:#x}"})
        return int(told.split()[-1], 16)

    def pin_is_high(self, pin):
        """The level of a Raspberry Pi's pin."""
        return bool(self.register(PI_LEVELS + 4 * (pin // 32)) >> pin % 32 & 1)

    def pin_is_driven(self, pin):
        """Whether a Raspberry Pi's pin is an output."""
        return self.register(PI_GPIO + 4 * (pin // 10)) >> pin % 10 * 3 & 7 == 1


def end_with_parent():
    """No machine outlives its test."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
