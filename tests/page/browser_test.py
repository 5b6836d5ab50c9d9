#!/usr/bin/env python3
"""The page in a real browser, over a real scheduler, worker and jobs. Skipped by name where Chromium, its driver or Selenium is missing.

    browser_test.py FOLDER_OF_PROGRAMS
"""

import contextlib
import http.client
import http.server
import json
import pathlib
import shutil
import subprocess
import sys
import threading
import unittest

from service import PATIENCE, Service, eventually

for program in ("chromium", "chromedriver"):
    if shutil.which(program) is None:
        print(f"skipped: {program} is not here (Debian's chromium and chromium-driver)")
        sys.exit(77)
try:
    from axe_selenium_python import Axe
    from selenium import webdriver
    from selenium.common.exceptions import StaleElementReferenceException, WebDriverException
    from selenium.webdriver.chrome.service import Service as Driver
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
except ImportError as error:
    print(f"skipped: {error}; tests/tools.sh fetches it")
    sys.exit(77)

PROGRAMS = pathlib.Path(sys.argv.pop(1)).resolve()
# No worker is there.
NOWHERE = "scheduling: {labels: {zone: moon}}"
MARKUP = "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>"


def browser(width=1280, height=900, dark=False, phone=False):
    chosen = webdriver.ChromeOptions()
    chosen.binary_location = shutil.which("chromium")
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking", "--no-first-run", f"--window-size={width},{height}"):
        chosen.add_argument(argument)
    if phone:
        chosen.add_experimental_option("mobileEmulation", {"deviceMetrics": {"width": width, "height": height, "pixelRatio": 2, "touch": True}})
    chosen.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    made = webdriver.Chrome(options=chosen, service=Driver(shutil.which("chromedriver")))
    made.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]})
    made.set_page_load_timeout(PATIENCE)
    return made


@contextlib.contextmanager
def proxy(address, prefix):
    """A proxy that serves `address` below a path, and passes on what it gets as it comes."""
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.do_GET()

        def do_GET(self):
            if not self.path.startswith(prefix):
                return self.send_error(404)
            connection = http.client.HTTPConnection(address, timeout=PATIENCE)
            kept = {key: value for key, value in self.headers.items() if key.lower() not in ("host", "connection")}
            try:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                connection.request(self.command, "/" + self.path.removeprefix(prefix), body=body, headers=kept)
                response = connection.getresponse()
                self.send_response(response.status)
                for key, value in response.headers.items():
                    if key.lower() != "connection":
                        self.send_header(key, value)
                self.end_headers()
                while piece := response.read1(65536):
                    self.wfile.write(piece)
            except OSError:
                pass
            finally:
                self.close_connection = True
                connection.close()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}{prefix}"
    finally:
        server.shutdown()
        server.server_close()


class PageTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.many = (PROGRAMS / "bench_scheduler").exists()
        cls.service = Service(PROGRAMS)
        if cls.many:
            # Ten thousand jobs that have ended, as they are after months of use.
            subprocess.run([PROGRAMS / "bench_scheduler", "--fill", cls.service.folder / "scheduler", "--jobs", "10000"], check=True, capture_output=True)
        cls.service.start()
        cls.service.worker(slots=3)
        cls.running = cls.service.submit("running")
        cls.full = cls.service.submit("full-rank", more="labels: {team: speech}")
        cls.waiting = cls.service.submit("waiting", 100000, NOWHERE, "--allow-pending")
        cls.browser = browser()

    @classmethod
    def tearDownClass(cls):
        cls.browser.quit()
        cls.service.stop()

    def go(self, place):
        self.browser.get(self.service.page)
        self.browser.execute_script("location.hash = arguments[0]", f"#{place}")
        return self

    def text(self):
        try:
            return self.browser.find_element(By.TAG_NAME, "main").text
        except (StaleElementReferenceException, WebDriverException):
            return ""

    def sees(self, *words):
        for word in words:
            eventually(f"“{word}” on the page, which says: {self.text()[:600]}", lambda w=word: w in self.text())

    def find(self, selector):
        return eventually(selector, lambda: self.browser.find_elements(By.CSS_SELECTOR, selector))[0]

    def click(self, selector):
        """Elements are made anew when what they show changes."""
        def pressed():
            try:
                self.browser.find_element(By.CSS_SELECTOR, selector).click()
                return True
            except WebDriverException:
                return False
        eventually(f"{selector} to be pressed", pressed)

    def points(self):
        """Of the first curve of the loss."""
        return self.browser.execute_script("const p = document.querySelector('.wide-chart path.stroke'); return p ? p.getAttribute('d').split('L').length : 0")

    def quiet(self):
        """What the browser complains of. Answers that are no success are told on the page."""
        found = [entry for entry in self.browser.get_log("browser") if entry["level"] == "SEVERE" and "Failed to load resource" not in entry["message"]]
        self.assertEqual(found, [])

    def accessible(self, driver):
        axe = Axe(driver)
        axe.inject()
        violations = axe.run()["violations"]
        self.assertEqual([(v["id"], [n["html"][:160] for n in v["nodes"]][:3]) for v in violations], [])

    def test_now_shows_slots_what_runs_and_what_waits(self):
        self.go("/").sees("of optimizer memory not needed", self.running, self.waiting, "2 / 3", "Nothing failed" if not self.many else "Failed lately")
        self.assertEqual(len(self.browser.find_elements(By.CSS_SELECTOR, ".workers .tile.used")), 2)
        self.quiet()

    def test_a_loss_curve_appears_and_grows(self):
        self.go(f"/jobs/{self.running}").sees("running", "Gradient norm", "This job, as planned", "At full rank: AdamW")
        first = eventually("a curve", self.points)
        eventually("a longer curve", lambda: self.points() > first)
        # With the keyboard: the newest value is told, and the cursor moves.
        stage = self.find(".wide-chart .stage")
        stage.send_keys(Keys.HOME)
        eventually("the cursor", lambda: stage.get_attribute("aria-valuetext").startswith("step "))
        self.browser.execute_script("const s = document.getElementById('axis'); s.value = 'tokens'; s.dispatchEvent(new Event('change'))")
        self.assertIn("axis=tokens", self.browser.current_url)
        self.sees("as counted")
        eventually("the log", lambda: "step" in self.find("pre.log").text)
        self.quiet()

    def test_a_job_is_cancelled_and_resumed(self):
        job = self.service.submit("unwanted", 100000, NOWHERE, "--allow-pending")
        self.go(f"/jobs/{job}").sees("queued")
        self.click("button[data-key=Hold]")
        self.sees("held")
        self.click("button[data-key=Cancel]")
        self.click("dialog button[value=cancel]")
        self.sees("cancelled")
        self.assertEqual(self.service.ask(f"/v1/jobs/{job}?fields=state")[1]["state"], "CANCELLED")
        self.click("button[data-key=Resume]")
        self.sees("queued")
        self.service.cli("cancel", job)

    def test_a_filter_finds_one_of_ten_thousand(self):
        if not self.many:
            self.skipTest("bench_scheduler, which makes ten thousand jobs, is not built")
        self.go("/jobs").sees("1 to 50")
        box = self.find("#contains")
        box.send_keys("TEAM=spee", "")
        eventually("others to go", lambda: "running-" not in self.text())
        box.clear()
        box.send_keys("team=speech")
        self.find("#states")
        self.browser.execute_script("const s = document.getElementById('states'); s.value = 'RUNNING'; s.dispatchEvent(new Event('change'))")
        eventually("one row", lambda: len(self.browser.find_elements(By.CSS_SELECTOR, "tbody tr")) == 1 and self.full in self.text())
        self.assertIn("states=RUNNING", self.browser.current_url)
        self.go("/jobs").sees("1 to 50")
        self.click(".pager button:last-child")
        self.sees("51 to 100")
        self.click(".pager button:last-child")
        self.sees("101 to 150")
        self.click(".pager button:first-child")
        self.sees("51 to 100")
        self.quiet()

    def test_compare_has_curves_and_the_settings_that_differ(self):
        other = self.service.folder / "other.yaml"
        other.write_text((self.service.folder / "running.yaml").read_text().replace("rank: 8", "rank: 4").replace("learning_rate: 0.01", "learning_rate: 0.02"))
        job = self.service.cli("submit", other).removeprefix("submitted ").strip()
        self.go(f"/compare?jobs={self.running},{self.full},{job},none-7").sees("galore.rank", "optimizer.learning_rate", "there is no job jobs/none-7")
        eventually("two curves", lambda: len(self.browser.find_elements(By.CSS_SELECTOR, ".wide-chart path.stroke")) >= 2)
        picture = self.browser.execute_async_script("""
            const done = arguments[arguments.length - 1];
            const {Chart} = await import(new URL('page/chart.js', document.baseURI)); done(typeof Chart);""")
        self.assertEqual(picture, "function")
        self.service.cli("cancel", job)
        self.quiet()

    def test_foreign_text_is_text(self):
        job = self.service.submit("hostile", 100000, f"{NOWHERE}\nnote: {json.dumps(MARKUP)}", "--allow-pending")
        log = self.service.folder / "scheduler/logs"
        reason = MARKUP + "\u202e\u001b[31mred"
        self.assertEqual(self.service.ask(f"/v1/jobs/{job}:hold", "POST", {"reason": reason})[0], 200)
        self.go(f"/jobs/{job}").sees("<img src=x onerror=", "\\u202e", "␛[31mred")
        self.go("/").sees("<script>")
        self.service.cli("cancel", job, "--reason", MARKUP)
        # A line of a log that says something else than it should.
        done = self.service.submit("said", steps=2)
        eventually("its end", lambda: self.service.ask(f"/v1/jobs/{done}?fields=state")[1]["state"] == "SUCCEEDED")
        for path in (log / done).rglob("0.log"):
            path.write_bytes(path.read_bytes() + MARKUP.encode() + b"\x1b]0;title\x07 \xff\n")
        self.go(f"/jobs/{done}").sees("<script>document.title='taken'</script>", "␛]0;title␇")
        self.assertNotIn("taken", self.browser.title)
        self.assertEqual(self.browser.find_elements(By.CSS_SELECTOR, "main img, main script"), [])
        self.quiet()

    def test_the_page_comes_back_after_the_scheduler_does(self):
        self.go("/").sees(self.running)
        status = self.find("#link")
        eventually("the connection", lambda: status.text == "Live")
        address = self.service.address
        self.service.scheduler.kill()
        self.service.scheduler.wait()
        eventually("that it is not connected", lambda: status.text == "Not connected")
        self.assertIn("not the newest", self.find("#notice").text)
        self.service.start(http=address)
        # The port of gRPC is another now: its worker does not find it. The page does.
        eventually("the connection", lambda: status.text == "Live")
        self.sees(self.running)
        job = self.service.submit("fresh")
        self.sees(job)

    def test_many_windows_are_not_stopped_by_the_streams_of_others(self):
        """A browser has six connections to a server by HTTP/1.1."""
        self.go("/").sees(self.running)
        first = self.browser.current_window_handle
        opened = []
        try:
            for _ in range(8):
                self.browser.switch_to.new_window("tab")
                opened.append(self.browser.current_window_handle)
                self.go("/").sees(self.running)
        finally:
            for handle in opened:
                self.browser.switch_to.window(handle)
                self.browser.close()
            self.browser.switch_to.window(first)

    def test_below_a_path_of_a_proxy_the_page_finds_everything(self):
        with proxy(self.service.address, "/teams/galleon/") as url:
            self.browser.get(url)
            self.sees(self.running)
            eventually("the connection", lambda: self.find("#link").text == "Live")
            fresh = self.service.submit("proxied", 100000, NOWHERE, "--allow-pending")
            self.sees(fresh)
            self.browser.execute_script("location.hash = arguments[0]", f"#/jobs/{fresh}")
            self.click("button[data-key=Cancel]")
            self.click("dialog button[value=cancel]")
            self.sees("cancelled")
            self.quiet()

    def test_curves_show_what_others_lose(self):
        """Single values between gaps, values that are not finite, and small ones by a logarithm."""
        self.go("/nowhere").sees("no such view")
        told = self.browser.execute_async_script("""
            const done = arguments[arguments.length - 1];
            const {draw, log_ticks, smoothed} = await import(new URL('page/chart.js', document.baseURI));
            const {points_of, by_name} = await import(new URL('page/series.js', document.baseURI));
            const of = (points, more) => draw({series: [{name: 'a', points}], ...more}, 400, 200, false).root;
            const named = by_name({series: [{name: 'loss', steps: ['1', '3', '5'], values: [1, 2, 3], not_finite: '2', not_finite_steps: ['2', '4']}]});
            const found = points_of(named, 'loss', 'steps');
            const marked = of(found.points, {marks: found.marks});
            const small = of([{x: 1, y: 1e-7}, {x: 2, y: 1e-3}, {x: 3, y: 0}], {log: true});
            done({singles: marked.querySelectorAll('circle').length, marks: marked.querySelectorAll('.not-finite').length,
              ticks: log_ticks(1e-7, 1e-3), text: small.outerHTML, smooth: smoothed([{x: 1, y: 4}, {x: 2, y: NaN}, {x: 3, y: 4}], 0.9).map((p) => p.y)});""")
        self.assertEqual((told["singles"], told["marks"]), (3, 2))
        self.assertEqual(len(told["ticks"]), 5)
        self.assertNotIn("NaN", told["text"])
        self.assertNotIn("Infinity", told["text"])
        self.assertEqual(told["smooth"][2], 4)

    def test_no_view_keeps_anybody_out(self):
        for place, word in [("/", self.running), ("/jobs", self.running), (f"/jobs/{self.running}", "Job file"), (f"/compare?jobs={self.running}", "training loss"), ("/nowhere", "no such view")]:
            for dark in (False, True):
                with self.subTest(place=place, dark=dark):
                    self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]})
                    self.go(place).sees(word)
                    self.accessible(self.browser)
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})

    def test_a_phone_shows_it_without_scrolling_sideways(self):
        phone = browser(390, 844, phone=True)
        try:
            for place in ("/", "/jobs", f"/jobs/{self.running}", "/compare"):
                with self.subTest(place=place):
                    phone.get(self.service.page + f"#{place}")
                    eventually("the view", lambda: phone.find_elements(By.CSS_SELECTOR, "main h1"))
                    eventually("its content", lambda: len(phone.find_element(By.TAG_NAME, "main").text) > 40)
                    self.assertLessEqual(phone.execute_script("return document.documentElement.scrollWidth"), 391)
        finally:
            phone.quit()

    def test_the_first_view_is_small_and_quick(self):
        self.go("/").sees(self.running)
        fresh = browser()
        try:
            fresh.get(self.service.page)
            eventually("the view", lambda: self.running in fresh.find_element(By.TAG_NAME, "main").text)
            loaded = fresh.execute_script("return performance.getEntries().filter(e => e.transferSize !== undefined).map(e => [e.name, e.transferSize])")
            self.assertLessEqual(sum(size for _, size in loaded), 150_000, loaded)
            self.assertTrue(all(name.startswith(self.service.page) for name, _ in loaded), loaded)
        finally:
            fresh.quit()


if __name__ == "__main__":
    unittest.main()
