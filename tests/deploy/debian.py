"""A bare Debian root, made once in the build folder and shared by the tests that need one. And what tests need to know of this machine."""

import fcntl
import os
import re
import shutil
import subprocess
import sys
import time

SKIPPED = 77
OLD_SECONDS = 3 * 24 * 3600  # packages of the base are then behind the archive's


def run(*command, **more):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False, **more)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def skip(reason):
    print(f"skipped: {reason}")
    sys.exit(SKIPPED)


def need(*programs):
    """Ends with 77 without root, a mount of one's own, or one of the programs."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        skip(f"{', '.join(missing)} are not installed")
    if os.geteuid() != 0 or subprocess.run(["unshare", "-m", "-p", "-n", "-f", "true"], capture_output=True, check=False).returncode != 0:
        skip("this machine gives no namespaces of one's own; root is needed")


def unreachable(said):
    """The line that says that Debian's archive is out of reach, or None."""
    found = re.search(r".*(Failed to fetch|Could not resolve|Could not connect|Temporary failure).*", said)
    return found and f"Debian's archive is out of reach: {found.group(0)[:200]}"


def base(build):
    """A tarball of mmdebstrap's variant "apt". Ends with 77 where the archive is out of reach; anything else that fails is an error."""
    made = build / "deploy" / "bookworm.tar"
    made.parent.mkdir(exist_ok=True)
    with (made.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if made.exists() and time.time() - made.stat().st_mtime < OLD_SECONDS:
            return made
        partial = made.with_suffix(".partial.tar")
        done = subprocess.run(["mmdebstrap", "--quiet", "--variant=apt", "--components=main", "--dpkgopt=force-unsafe-io", "bookworm",
                               partial], capture_output=True, text=True,
                              check=False)
        if done.returncode != 0:
            said = done.stdout + done.stderr
            skip(unreachable(said) or sys.exit(said[-4000:]))
        partial.rename(made)
    return made


def package(build, folder):
    """The Debian package of the build, in folder/cpack."""
    run("cpack", "--config", build / "CPackConfig.cmake", "-B", folder / "cpack", cwd=folder)
    return next((folder / "cpack").glob("*.deb"))
