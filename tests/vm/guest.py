#!/usr/bin/python3
"""Builds the virtual machines' system: Debian with systemd, a camera driver and a GPIO chip, without mounting anything.

    tests/vm/guest.py amd64|arm64 [CACHE]     leaves CACHE/ARCH/{kernel.img,initrd.img,disk.ext4[,board.dtb]}

amd64 is a PC, arm64 a Raspberry Pi 3B. Everything comes from Debian's packages through this machine's apt. Three steps,
each kept in the cache and done again only when what it is made from has changed: `system` (the root's files), `drivers`
(kernel, and out of tree the two drivers that Debian does not ship built), `disk`. The drivers' sources are under the
GPL; they are unpacked from Debian's packages when needed and are not part of accessd.
"""

import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
PARTS = HERE / "guest"
SUITE = "bookworm"
KERNEL = "6.12"
DISK_MB = 1024  # an SD card's size must be a power of two
PACKAGES = "systemd-sysv udev kmod dbus procps gpiod v4l-utils busybox-static"
MACHINES = {
    "amd64": {
        "kernel_arch": "x86_64",
        "cross": "",
        "port": "/dev/virtio-ports/agent",
        "modules": ["virtio_blk", "virtio_pci"],
    },
    "arm64": {
        "kernel_arch": "arm64",
        "cross": "aarch64-linux-gnu-",
        "port": "/dev/ttyS1",
        "modules": ["bcm2835", "sdhci-iproc"],
    },
}
# Drivers that no virtual door has: they would make the disk three times as large.
LEFT_OUT = "sound arch/x86/kvm drivers/net drivers/gpu drivers/infiniband drivers/scsi drivers/staging drivers/ata \
drivers/isdn drivers/hwmon drivers/iio drivers/nvme drivers/target drivers/crypto net/wireless fs/btrfs fs/xfs fs/ocfs2"


class Failed(Exception):
    """A step could not be done."""


class Builder:
    """The steps for one machine."""

    def __init__(self, arch, cache):
        self.arch, self.machine = arch, MACHINES[arch]
        self.out = cache / arch
        self.root, self.tree = self.out / "system", self.out / "drivers"
        self.log = None

    def build(self):
        self.out.mkdir(parents=True, exist_ok=True)
        with (self.out / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            anew = False
            parts = sorted(path for path in PARTS.iterdir())
            inputs = {
                "system": [SUITE, PACKAGES],
                "drivers": [KERNEL],
                "disk": [DISK_MB, LEFT_OUT, *(path.read_text(encoding="utf-8") for path in parts)],
            }
            for name, made_from in inputs.items():
                anew = self.step(name, made_from, anew)

    def step(self, name, made_from, anew):
        """Does a step unless it was done from the same things; whether it was done now."""
        done = self.out / f"{name}.done"
        key = hashlib.sha256(json.dumps([made_from, self.machine]).encode()).hexdigest()
        if not anew and done.is_file() and done.read_text() == key:
            return False
        done.unlink(missing_ok=True)
        begun = time.monotonic()
        log = self.out / f"{name}.log"
        with log.open("w") as self.log:
            try:
                getattr(self, f"make_{name}")()
            except (Failed, OSError) as error:
                raise Failed(f"{self.arch} {name}: {error}; see {log}") from error
        done.write_text(key)
        print(f"guest: {self.arch} {name}: {time.monotonic() - begun:.0f} s", flush=True)
        return True

    def run(self, *command, text=None, cwd=None):
        """Runs a command with its output in the step's log."""
        print("+", *command, file=self.log, flush=True)
        done = subprocess.run(list(map(str, command)), input=text, text=True, cwd=cwd, stdout=self.log, stderr=self.log)
        if done.returncode:
            raise Failed(f"{command[0]} ended with {done.returncode}")

    def ask(self, *command):
        done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, stderr=self.log, text=True)
        if done.returncode:
            raise Failed(f"{command[0]} ended with {done.returncode}")
        return done.stdout

    # --- the root's files

    def make_system(self):
        if self.arch == "arm64":
            self.let_arm64_run()
        shutil.rmtree(self.root, ignore_errors=True)
        options = ["--aptopt=APT::Install-Recommends false"]
        options += [f"--dpkgopt=path-exclude=/usr/share/{folder}/*" for folder in ("man", "doc", "locale", "info")]
        self.run(
            "mmdebstrap", "--mode=root", f"--arch={self.arch}", "--variant=essential", *options,
            f"--include={PACKAGES.replace(' ', ',')}", SUITE, self.root, "-", text=self.sources(),
        )  # fmt: skip
        etc = self.root / "etc"
        (etc / "hostname").write_text("door\n")
        (etc / "fstab").write_text("/dev/root / ext4 defaults 0 0\n")
        # With an id of its own systemd does not take each fresh disk's boot for the machine's first.
        (etc / "machine-id").write_text(secrets.token_hex(16) + "\n")
        for unit in ("dpkg-db-backup.timer", "fstrim.timer", "systemd-pstore.service", "getty@tty1.service"):
            self.link("/dev/null", etc / "systemd/system" / unit)

    def sources(self):
        """This machine's own apt sources of the suite, a line each."""
        known = self.ask("apt-get", "indextargets", "--format", "$(SIGNED_BY)\t$(REPO_URI)\t$(RELEASE)\t$(COMPONENT)",
                         "Created-By: Packages")  # fmt: skip
        lines = set()
        for row in known.splitlines():
            key, where, release, component = row.split("\t")
            if release.startswith(SUITE):
                signed = f"[signed-by={key}] " if key.startswith("/") else ""
                lines.add(f"deb {signed}{where} {release} {component}\n")
        if not lines:
            raise Failed(f"apt has no source for {SUITE} here")
        return "".join(sorted(lines))

    def let_arm64_run(self):
        """Has the kernel run arm64 programs by qemu, which mmdebstrap needs; registers the handler where it is not."""
        if subprocess.run(["arch-test", "arm64"], stdout=self.log, stderr=self.log).returncode == 0:
            return
        register = Path("/proc/sys/fs/binfmt_misc/register")
        if not register.exists():
            self.run("mount", "-t", "binfmt_misc", "none", register.parent)
        register.write_text(Path("/usr/lib/binfmt.d/qemu-aarch64.conf").read_text())
        self.run("arch-test", "arm64")

    # --- kernel and drivers

    def make_drivers(self):
        shutil.rmtree(self.tree, ignore_errors=True)
        packages, chip = self.tree / "packages", self.tree / "gpio-sim"
        packages.mkdir(parents=True)
        chip.mkdir()
        version = self.kernel_version()
        common = version.removesuffix(f"-{self.arch}")
        wanted = [f"linux-image-{version}:{self.arch}", f"linux-headers-{version}:{self.arch}"]
        wanted += [f"linux-headers-{common}-common", f"linux-kbuild-{common}", f"linux-source-{KERNEL}", "v4l2loopback-dkms"]
        self.run("apt-get", "-o", "APT::Sandbox::User=root", "-q", "download", *wanted, cwd=packages)
        for package in packages.glob("*.deb"):
            if not package.name.startswith("linux-source"):
                into = self.tree / "image" if package.name.startswith("linux-image") else self.tree
                self.run("dpkg-deb", "-x", package, into)
        source = next(packages.glob("linux-source-*.deb"))
        self.run("sh", "-c", 'dpkg-deb --fsys-tarfile "$1" | tar -xO --wildcards "./usr/src/linux-source-*.tar.xz" | '
                 'tar -xJ -C "$2" --strip-components=3 --wildcards "*/drivers/gpio/gpio-sim.c" "*/kernel/irq/irq_sim.c"',
                 "sh", source, chip)  # fmt: skip
        shutil.rmtree(packages)
        (self.tree / "version").write_text(version)
        headers = self.tree / "usr/src" / f"linux-headers-{version}"
        edit(headers / "Makefile", (r"^include .*/(linux-headers-.*-common/Makefile)", rf"include {self.tree}/usr/src/\1"))
        self.prepare_gpio_sim(chip)
        loopback = self.prepare_loopback()
        for module in (chip, loopback):
            arch, cross = self.machine["kernel_arch"], self.machine["cross"]
            self.run("make", f"-j{os.cpu_count()}", "-C", headers, f"M={module}", f"ARCH={arch}", f"CROSS_COMPILE={cross}",
                     "CONFIG_DEBUG_INFO_BTF_MODULES=", "modules")  # fmt: skip

    def kernel_version(self):
        meta = f"linux-image-{KERNEL}-{self.arch}:{self.arch}"
        found = re.search(r"^ *Depends: linux-image-([^: \n]+)", self.ask("apt-cache", "depends", meta), re.MULTILINE)
        if not found:
            raise Failed(f"apt knows no {meta}: run `scripts/setup-system --with-vm`")
        return found[1]

    def prepare_gpio_sim(self, folder):
        """gpio-sim needs the kernel's simulated interrupts, which Debian leaves out: both go into one module."""
        (folder / "gpio-sim.c").rename(folder / "chip.c")
        # What a module may not call is said with what it may.
        edit(folder / "irq_sim.c", (r"^EXPORT_SYMBOL.*\n", ""),
             (r"handle_simple_irq\(irq_to_desc\((.*)\)\);", r"generic_handle_irq(\1);"))  # fmt: skip
        (folder / "Makefile").write_text("obj-m := gpio-sim.o\ngpio-sim-y := chip.o irq_sim.o\n")

    def prepare_loopback(self):
        """v4l2loopback 0.12 for a newer kernel; and a feeder that uses write() counts as the writer."""
        folder = next((self.tree / "usr/src").glob("v4l2loopback-*"))
        edit(folder / "v4l2loopback.c", (r"\bstrlcpy\(", "strscpy("),
             (r"^(.*stop announcing output.*\n)", "\\1\tfh_to_opener(file->private_data)->type = WRITER;\n"))  # fmt: skip
        return folder

    # --- the disk

    def make_disk(self):
        version = (self.tree / "version").read_text()
        image = self.tree / "image"
        self.install_modules(version, image)
        for program in ("camera-feed", "relay-watch"):
            compiler = f"{self.machine['cross']}gcc-12"
            self.run(compiler, "-O2", "-static", "-o", self.root / "usr/local/bin" / program, PARTS / f"{program}.c")
        for script in ("agent", "door-wiring"):
            install(PARTS / script, self.root / "usr/local/sbin" / script, 0o755)
        for unit in PARTS.glob("*.service"):
            text = unit.read_text(encoding="utf-8").replace("@PORT@", self.machine["port"])
            there = self.root / "etc/systemd/system"
            (there / unit.name).write_text(text)
            self.link(f"../{unit.name}", there / "multi-user.target.wants" / unit.name)
        shutil.copy(image / f"boot/vmlinuz-{version}", self.out / "kernel.img")
        if self.arch == "arm64":
            board = self.out / "board.dtb"
            shutil.copy(image / f"usr/lib/linux-image-{version}/broadcom/bcm2837-rpi-3-b.dtb", board)
            # Bluetooth has the UART that the console needs.
            self.run("fdtput", "-r", board, "/soc/serial@7e201000/bluetooth")
        self.make_initrd(version)
        disk = self.out / "disk.ext4"
        disk.unlink(missing_ok=True)
        self.run("mke2fs", "-q", "-t", "ext4", "-L", "door", "-d", self.root, disk, f"{DISK_MB}M")

    def install_modules(self, version, image):
        modules = self.root / "usr/lib/modules"
        shutil.rmtree(modules, ignore_errors=True)
        left_out = {f"kernel/{folder}" for folder in LEFT_OUT.split()}
        source = image / "lib/modules" / version

        def unwanted(folder, names):
            inside = Path(folder).relative_to(source)
            return [name for name in names if str(inside / name) in left_out]

        shutil.copytree(source, modules / version, symlinks=True, ignore=unwanted)
        (modules / version / "updates").mkdir()
        for built in self.tree.glob("**/*.ko"):
            if "image" not in built.relative_to(self.tree).parts:
                shutil.copy(built, modules / version / "updates")
        self.run("depmod", "-b", self.root, version)

    def make_initrd(self, version):
        """A busybox that loads what the root disk needs: Debian's own generator takes minutes under emulation."""
        tree = self.out / "initrd"
        shutil.rmtree(tree, ignore_errors=True)
        for folder in ("bin", "dev", "proc", "sys", "newroot", "modules"):
            (tree / folder).mkdir(parents=True)
        install(self.root / "bin/busybox", tree / "bin/busybox", 0o755)
        self.link("busybox", tree / "bin/sh")
        install(PARTS / "init", tree / "init", 0o755)
        order = []
        for module in ("crc32c_generic", *self.machine["modules"], "ext4"):
            for line in self.ask("modprobe", "-d", self.root, "-S", version, "--show-depends", module).splitlines():
                kind, path = line.split()[:2]
                if kind == "insmod" and path not in order:
                    order.append(path)
        for path in order:
            if path.endswith(".xz"):
                unpacked = subprocess.run(["xz", "-dc", path], stdout=subprocess.PIPE, check=True).stdout
                (tree / "modules" / Path(path).stem).write_bytes(unpacked)
            else:
                shutil.copy(path, tree / "modules")
        names = [Path(path).name.removesuffix(".xz") for path in order]
        (tree / "modules/order").write_text("".join(f"{name}\n" for name in names))
        self.run("sh", "-c", 'cd "$1" && find . | cpio -o -H newc -R 0:0 --quiet | zstd -q -3 -f -o "$2"', "sh", tree,
                 self.out / "initrd.img")  # fmt: skip
        shutil.rmtree(tree)

    @staticmethod
    def link(target, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.symlink_to(target)


def install(source, target, mode):
    shutil.copy(source, target)
    target.chmod(mode)


def edit(path, *changes):
    """Replaces each pattern in a file; one that is not there means that the source is another than expected."""
    text = path.read_text(encoding="utf-8")
    for pattern, new in changes:
        text, count = re.subn(pattern, new, text, flags=re.MULTILINE)
        if not count:
            raise Failed(f"{path.name} has nothing like {pattern!r}: another version than expected")
    path.write_text(text, encoding="utf-8")


def build(arch, cache):
    """Builds the guest unless the cache has it."""
    if os.geteuid():
        raise Failed("making the guest's files takes root (or fakeroot's like): run it as root")
    Builder(arch, cache.resolve()).build()


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3) or sys.argv[1] not in MACHINES:
        sys.exit(__doc__)
    try:
        build(sys.argv[1], Path(sys.argv[2] if len(sys.argv) == 3 else "target/vm"))
    except Failed as error:
        sys.exit(f"guest: {error}")
