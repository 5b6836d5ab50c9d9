"""A program that runs as process 1 of namespaces of its own, started through unshare."""

import os
import pathlib
import signal
import subprocess


class ProcessOne:
    """`process` is unshare, or what becomes unshare; whoever starts it sets it."""

    process: subprocess.Popen

    def first_process(self):
        """Outside's number of process 1; None before it is there and once it has ended."""
        parent = self.process.pid
        try:
            children = pathlib.Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        except OSError:
            return None
        return int(children[0]) if children else None

    def enter(self, *command):
        """Runs a command in the namespaces."""
        return subprocess.run(["nsenter", "--target", str(self.first_process()), "--mount", "--net", "--pid", "--root", "--wd", *command],
                              capture_output=True, text=True, check=False)

    def end(self):
        if self.process.poll() is None:
            if first := self.first_process():  # whose user is another by now, so that it does not end with unshare
                os.kill(first, signal.SIGKILL)
            self.process.kill()
            self.process.wait()
