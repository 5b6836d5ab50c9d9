#!/usr/bin/env python3
"""What open pages cost a scheduler with ten thousand jobs, and what the first view takes.

    page.py BIN [--pages N] [--seconds S] [--rounds N] [--submits N] [--json FILE]

BIN holds galleon-scheduler and bench_scheduler. Each page does as server/page/now.js: it has one stream of events open, looks at what runs every 5 s, and at the
rest when there was an event or half a minute is over: at once, and where events do not end every 16 s. The pages give way to the scheduler where processors
are few (nice 19), as browsers on other machines would. The processor time of the scheduler is its own, of all its threads. Submits are those of bench_scheduler --load, with and without
the pages, in turns. The first view is loaded by Chromium where Selenium is there.
"""

import argparse
import http.client
import json
import os
import pathlib
import platform
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parents[3]
EVERY = 5
WHOLE_EVERY = 30
RUNNING = 2  # of the looks


def machine():
    model = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "")
    return {"cpu": model, "cores": os.cpu_count(), "kernel": platform.release(), "load_before": os.getloadavg()[0]}


def seconds_of(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def looks():
    """The addresses that the first view asks for, read out of it."""
    text = (ROOT / "server/page/now.js").read_text()
    names = {key: re.findall(r'"([^"]+)"', found) for key, found in re.findall(r"const (OF_\w+) = \[(.*?)\];", text, re.DOTALL)}
    fields = lambda kind, key: urllib.parse.quote(",".join(["next_page_token", *[f"{kind}.{name}" for name in names[key]]]), safe="")
    jobs = fields("jobs", "OF_JOB")
    return [f"/v1/workers?page_size=1000&fields={fields('workers', 'OF_WORKER')}", "/v1/queues?page_size=1000",
            f"/v1/jobs?states=RUNNING%2CSTARTING%2CRESERVED%2CPREEMPTING%2CCANCELLING&page_size=200&fields={jobs}",
            f"/v1/jobs?states=QUEUED&page_size=50&fields={jobs}", f"/v1/jobs?states=FAILED&page_size=8&fields={jobs}"]


class Page(threading.Thread):
    """A page that is looked at."""

    def __init__(self, address, stop, phase):
        super().__init__(daemon=True)
        self.address, self.stopped, self.phase = address, stop, phase
        self.failed = None
        self.heard = 0

    def listen(self, response, told):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
        try:
            for line in response:
                if line.startswith(b"event: events"):
                    self.heard = time.monotonic()
                    told.set()
        except OSError:
            pass

    def run(self):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
        try:
            stream = http.client.HTTPConnection(self.address, timeout=120)
            stream.request("GET", "/v1/events?from_now=true&revision_only=true")
            raw = stream.sock  # which the connection gives to an answer without a length
            response = stream.getresponse()
            told = threading.Event()
            threading.Thread(target=self.listen, args=(response, told), daemon=True).start()
            asks = http.client.HTTPConnection(self.address, timeout=120)
            self.stopped.wait(self.phase)
            whole_at, pause = -WHOLE_EVERY, 1.5
            while not self.stopped.is_set():
                since = time.monotonic() - whole_at
                whole = since > WHOLE_EVERY or (told.is_set() and since > pause)
                if whole:
                    pause = min(2 * pause, 16) if told.is_set() and since < 2 * pause + 3 else 1.5
                    if time.monotonic() - self.heard > 1:
                        told.clear()
                    whole_at = time.monotonic()
                began = time.monotonic()
                for target in looks() if whole else [looks()[RUNNING]]:
                    asks.request("GET", target, headers={"Cache-Control": "max-age=1"})
                    answer = asks.getresponse()
                    body = answer.read()
                    if answer.status != 200:
                        raise RuntimeError(f"{target}: {answer.status} {body[:200]}")
                while time.monotonic() - began < (2 if told.is_set() else EVERY) and not self.stopped.wait(0.1):
                    pass
            raw.shutdown(socket.SHUT_RDWR)
        except Exception as error:  # told by the main thread
            if not self.stopped.is_set():
                self.failed = error


def pages_open(address, count):
    stop = threading.Event()
    pages = [Page(address, stop, EVERY * i / count) for i in range(count)]
    for page in pages:
        page.start()
    time.sleep(EVERY)

    def close():
        stop.set()
        for page in pages:
            page.join(30)
        failed = [page.failed for page in pages if page.failed]
        if failed:
            raise failed[0]
    return close


def first_view(url):
    """Bytes as they travel, by the files and the first looks; seconds until something of the service is seen, by a browser."""
    address = urllib.parse.urlsplit(url).netloc
    connection = http.client.HTTPConnection(address)
    size = 0
    names = ["/", "/page/style.css", "/page/icon.svg", *[f"/page/{name}.js" for name in ("main", "api", "dom", "format", "now", "states")]]
    for target in names + looks():
        connection.request("GET", target, headers={"Accept-Encoding": "gzip"})
        size += len(connection.getresponse().read())
    figures = {"bytes": size}
    try:
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service as Driver
        chosen = webdriver.ChromeOptions()
        chosen.binary_location = shutil.which("chromium")
        for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
            chosen.add_argument(argument)
        driver = webdriver.Chrome(options=chosen, service=Driver(shutil.which("chromedriver")))
    except Exception as error:
        print(f"the first view is not timed: {error}", file=sys.stderr)
        return figures
    try:
        times = []
        for _ in range(9):
            driver.get("about:blank")
            driver.execute_cdp_cmd("Network.clearBrowserCache", {})
            # From the beginning of the navigation to the frame after the first look has been drawn.
            driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": """
                window.seen = 0; new MutationObserver((_, o) => { if (document.querySelector('.headline')) { o.disconnect(); requestAnimationFrame(() => { window.seen = performance.now(); }); } }).observe(document, {childList: true, subtree: true});"""})
            driver.get(url)
            end = time.monotonic() + 30
            while not (seen := driver.execute_script("return window.seen")) and time.monotonic() < end:
                time.sleep(0.02)
            times.append(seen / 1000)
        figures["seconds"] = statistics.median(times)
    finally:
        driver.quit()
    return figures


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binaries", type=pathlib.Path)
    parser.add_argument("--pages", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--submits", type=int, default=2000)
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    binaries = options.binaries.resolve()
    run = {"machine": machine(), "date": time.strftime("%Y-%m-%d"), "pages": options.pages}
    with tempfile.TemporaryDirectory(prefix="galleon-bench-") as name:
        data = pathlib.Path(name) / "data"
        subprocess.run([binaries / "bench_scheduler", "--fill", data, "--jobs", "10000"], check=True, cwd=name, stdout=subprocess.DEVNULL)
        ready = pathlib.Path(name) / "ready.json"
        process = subprocess.Popen([binaries / "galleon-scheduler", "--data", data, "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--http", "127.0.0.1:0", "--ready-file", ready,
                                    "--planner", data / "planner.sh", "--max-requests", "1000000"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            while not ready.exists():
                time.sleep(0.02)
            said = json.loads(ready.read_text())
            address = urllib.parse.urlsplit(said["page"]).netloc
            time.sleep(2)

            def cores(seconds):
                begin, at = seconds_of(process.pid), time.monotonic()
                time.sleep(seconds)
                return (seconds_of(process.pid) - begin) / (time.monotonic() - at)

            run["first_view"] = first_view(said["page"])
            run["cores_alone"] = cores(10)
            close = pages_open(address, options.pages)
            run["cores_with_pages"] = cores(options.seconds)
            close()
            rates = {"alone": [], "with_pages": []}
            for _ in range(options.rounds):
                for kind, found in rates.items():
                    close = pages_open(address, options.pages) if kind == "with_pages" else lambda: None
                    done = subprocess.run([binaries / "bench_scheduler", "--load", said["listen"], "--submits", str(options.submits), "--lists", "1"], check=True, stdout=subprocess.PIPE, text=True)
                    found.append(json.loads(done.stdout))
                    close()
            run["submits"] = rates
        finally:
            process.kill()
            process.wait()
    print(json.dumps(run, indent=1))
    if options.json:
        options.json.write_text(json.dumps(run, indent=1) + "\n")


if __name__ == "__main__":
    main()
