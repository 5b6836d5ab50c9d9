#!/usr/bin/env python3
"""Takes the pictures of docs/images of a scheduler that runs, with a job and a sweep, and makes them small (Debian's pngquant).

    pictures.py URL JOB GROUP FOLDER
"""

import pathlib
import shutil
import subprocess
import sys
import time

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

url, job, group, folder = sys.argv[1:]
for name, place, dark in (("page-job", f"/jobs/{job}", False), ("page-sweep", f"/compare?group={group}", True)):
    chosen = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1100,1240", "--force-device-scale-factor=1.25"):
        chosen.add_argument(argument)
    browser = webdriver.Chrome(options=chosen, service=Service(shutil.which("chromedriver")))
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]})
    browser.get(f"{url}#{place}")
    end = time.monotonic() + 30
    while not browser.execute_script("return document.querySelector('.wide-chart path.stroke')") and time.monotonic() < end:
        time.sleep(0.1)
    time.sleep(1)
    path = pathlib.Path(folder) / f"{name}.png"
    browser.save_screenshot(str(path))
    browser.quit()
    subprocess.run(["pngquant", "--force", "--strip", "--speed", "1", "64", "--output", path, path], check=True)
    print(path, path.stat().st_size)
