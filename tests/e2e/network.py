"""Machines of a test's own: network namespaces with an address each on one bridge. For root alone."""
import os
import pathlib
import shutil
import subprocess


def refusal():
    """Why this process cannot make them; None: it can."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return "it needs root and ip"
    name = f"galleon-try-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    if made.returncode != 0:
        return f"no network namespace can be made: {made.stderr.strip()}"
    bridge = subprocess.run(["ip", "-n", name, "link", "add", "hub", "type", "bridge"], capture_output=True, text=True)
    subprocess.run(["ip", "netns", "del", name], check=False)
    return None if bridge.returncode == 0 else f"no bridge can be made: {bridge.stderr.strip()}"


class Network:
    """A bridge in one namespace, and a namespace on it for each machine: {name of at most 15 letters: address}."""

    def __init__(self, addresses):
        self.addresses = addresses
        self.hub = f"galleon-{os.getpid()}-hub"
        self.names = {machine: f"galleon-{os.getpid()}-{machine}" for machine in addresses}

    def __enter__(self):
        def ip(*arguments):
            subprocess.run(["ip", *arguments], check=True)

        ip("netns", "add", self.hub)
        ip("-n", self.hub, "link", "add", "hub", "type", "bridge")
        ip("-n", self.hub, "link", "set", "hub", "up")
        for machine, name in self.names.items():
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
            ip("-n", name, "link", "add", "eth0", "type", "veth", "peer", "name", machine, "netns", self.hub)
            ip("-n", self.hub, "link", "set", machine, "master", "hub", "up")
            ip("-n", name, "address", "add", self.addresses[machine] + "/24", "dev", "eth0")
            ip("-n", name, "link", "set", "eth0", "up")
        return self

    def __exit__(self, *_):
        for name in [*self.names.values(), self.hub]:
            subprocess.run(["ip", "netns", "del", name], check=False)

    def cut(self, machine):
        # At the hub: the machine itself sees a link that is up and carries nothing.
        subprocess.run(["ip", "-n", self.hub, "link", "set", machine, "nomaster"], check=True)

    def heal(self, machine):
        subprocess.run(["ip", "-n", self.hub, "link", "set", machine, "master", "hub"], check=True)

    def trainers(self, machine):
        pids = subprocess.run(["ip", "netns", "pids", self.names[machine]], capture_output=True, text=True, check=True)
        found = []
        for pid in pids.stdout.split():
            try:
                command = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if command and command[0].endswith(b"galleon-trainer"):
                found.append(int(pid))
        return found
