#!/usr/bin/env python3
"""The JSON interface of a real scheduler: the same answers, roles and bounds as by gRPC.

    interface_test.py FOLDER_OF_PROGRAMS
"""

import hashlib
import gzip
import http.client
import json
import pathlib
import socket
import subprocess
import sys
import tempfile
import unittest

from service import PATIENCE, ROOT, Service, eventually

PROGRAMS = pathlib.Path(sys.argv.pop()).resolve()

QUEUES = """queues:
  default: {weight: 1, project: lab}
  other: {weight: 1, project: shop}
"""
TOKENS = {"ann": "a-token-of-ann-0123456789", "bob": "a-token-of-bob-0123456789", "eve": "a-token-of-eve-0123456789"}
ROLES = {"ann": "{lab: submitter}", "bob": "{lab: viewer}", "eve": "{shop: viewer}"}


class OpenTest(unittest.TestCase):
    """On loopback, where nobody has to say who they are."""

    @classmethod
    def setUpClass(cls):
        cls.service = Service(PROGRAMS).start()
        cls.job = cls.service.submit("words")

    @classmethod
    def tearDownClass(cls):
        cls.service.stop()

    def test_a_job_is_told_with_the_words_of_its_file_as_the_command_line_tells_it(self):
        status, answer, _ = self.service.ask(f"/v1/jobs/{self.job}")
        self.assertEqual(status, 200)
        self.assertEqual(answer["job"]["task"], "pretrain")
        told = json.loads(self.service.cli("get", self.job, "-o", "json"))
        self.assertEqual(answer["job"], told["job"])
        self.assertEqual(set(answer), set(told))
        listed = self.service.ask("/v1/jobs?contains=WORD&states=QUEUED&fields=jobs.job_id")[1]
        self.assertEqual(listed, {"jobs": [{"job_id": self.job}]})
        self.assertEqual(self.service.ask("/v1/jobs?contains=nothing-like-it")[1]["jobs"], [])

    def test_what_is_not_there_or_not_accepted_is_refused_by_name(self):
        for target, status, said in [("/v1/jobs/none", 404, "there is no job jobs/none"), ("/v1/jobs?size=1", 400, "size: is no parameter"),
                                     ("/v1/nothing", 404, "openapi.json"), ("/nothing", 404, "openapi.json"), ("/v1/jobs?page_size=5000", 400, "page_size: "),
                                     ("/v1/jobs/%00", 400, "NUL"), ("/?token=secret-of-mine", 400, "the header Authorization alone")]:
            with self.subTest(target=target):
                got, answer, _ = self.service.ask(target)
                self.assertEqual(got, status)
                self.assertIn(said, answer["error"]["message"])
                self.assertNotIn("secret-of-mine", answer["error"]["message"])
        self.assertEqual(self.service.ask("/v1/jobs/none")[1]["error"]["reason"], "JOB_NOT_FOUND")
        status, _, headers = self.service.ask("/v1/jobs", "DELETE")
        self.assertEqual((status, headers["Allow"]), (405, "GET"))

    def test_pages_of_other_sites_may_not_use_a_browser_for_it(self):
        cancel = f"/v1/jobs/{self.job}:cancel"
        for headers in ({"Host": "rebound.example"}, {"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
            with self.subTest(headers=headers):
                self.assertEqual(self.service.ask(cancel, "POST", headers=headers)[0], 403)
                self.assertEqual(self.service.ask("/v1/jobs", headers=headers)[0], 403)
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
            self.assertEqual(self.service.ask(cancel, "POST", body="reason=x", headers={"Content-Type": kind})[0], 415)
        # A link from elsewhere shows the page.
        self.assertEqual(self.service.ask("/", headers={"Sec-Fetch-Site": "cross-site"}, raw=True)[0], 200)
        self.assertEqual(self.service.ask(f"/v1/jobs/{self.job}?fields=state")[1], {"state": "QUEUED"})

    def test_every_answer_keeps_browsers_from_what_they_should_not_do(self):
        for target in ("/", "/page/style.css", "/v1/jobs", "/v1/none", "/openapi.json"):
            with self.subTest(target=target):
                headers = self.service.ask(target, raw=True)[2]
                policy = headers["Content-Security-Policy"]
                self.assertIn("default-src 'none'", policy)
                self.assertIn("frame-ancestors 'none'", policy)
                self.assertNotIn("unsafe", policy)
                self.assertEqual(headers["X-Content-Type-Options"], "nosniff")
                self.assertNotIn("Set-Cookie", headers)
                self.assertNotIn("Access-Control-Allow-Origin", headers)

    def test_files_of_the_page_are_packed_and_tagged(self):
        for target in ("/", "/page/main.js", "/page/icon.svg"):
            status, packed, headers = self.service.ask(target, headers={"Accept-Encoding": "br, gzip"}, raw=True)
            self.assertEqual((status, headers["Content-Encoding"]), (200, "gzip"))
            plain = self.service.ask(target, raw=True)[1]
            self.assertEqual(gzip.decompress(packed), plain)
            name = "index.html" if target == "/" else target.removeprefix("/page/")
            self.assertEqual(plain, (ROOT / "server/page" / name).read_bytes())
            status, body, _ = self.service.ask(target, headers={"If-None-Match": headers["ETag"]}, raw=True)
            self.assertEqual((status, body), (304, b""))
        status, body, headers = self.service.ask("/", "HEAD", raw=True)
        self.assertEqual((status, body), (200, b""))
        self.assertGreater(int(headers["Content-Length"]), 100)

    def test_the_description_is_the_one_that_is_kept_with_the_reference(self):
        self.assertEqual(self.service.ask("/openapi.json", raw=True)[1].decode(), (ROOT / "docs/reference/openapi.json").read_text())

    def test_events_go_on_where_they_were_left(self):
        job = self.service.submit("told")
        seen = []
        last = None
        for order in ("hold", "release", "hold", "cancel"):
            self.assertEqual(self.service.ask(f"/v1/jobs/{job}:{order}", "POST", {} if order == "release" else {"reason": order})[0], 200)
            # One event, then the connection is lost.
            for name, last, data in self.service.events(f"/v1/jobs/{job}/watch?after_revision=1", last=last):
                self.assertEqual(name, "job")
                seen += [(int(event["revision"]), event["kind"]) for event in data["events"]]
                break
        kinds = [kind for _, kind in seen]
        self.assertEqual(len(set(seen)), len(seen), "each is told once")
        self.assertEqual(sorted(seen), seen)
        self.assertEqual(kinds.count("held") + kinds.count("hold"), 2, kinds)
        # Proxies must not hold them back.
        connection = http.client.HTTPConnection(self.service.address, timeout=PATIENCE)
        connection.request("GET", f"/v1/jobs/{job}/watch")
        headers = connection.getresponse().headers
        connection.close()
        self.assertEqual((headers["X-Accel-Buffering"], headers["Cache-Control"], headers.get_content_type()), ("no", "no-store", "text/event-stream"))
        ended = [name for name, _, _ in self.service.events(f"/v1/jobs/{job}/watch")]
        self.assertEqual(ended[-1], "end")

    def test_who_only_looks_again_hears_of_changes_without_their_events(self):
        connection = http.client.HTTPConnection(self.service.address, timeout=PATIENCE)
        connection.request("GET", "/v1/events?from_now=true&revision_only=true")
        response = connection.getresponse()
        job = self.service.submit("heard")
        line = next(line for line in response if line.startswith(b"data: "))
        answer = json.loads(line.removeprefix(b"data: "))
        self.assertEqual(answer["events"], [])
        self.assertGreaterEqual(int(answer["revision"]), int(self.service.ask(f"/v1/jobs/{job}")[1]["revision"]) - 1)
        response.close()
        connection.close()
        status, refused, _ = self.service.ask(f"/v1/events?revision_only=true&subject=jobs/{job}")
        self.assertEqual(status, 400)
        self.assertIn("revision_only: ", refused["error"]["message"])

    def test_who_takes_an_answer_that_is_older_shares_it_and_nobody_else_gets_it(self):
        def names(**headers):
            status, answer, got = self.service.ask("/v1/jobs?contains=shared&fields=jobs.job_id", headers={key.replace("_", "-"): value for key, value in headers.items()})
            self.assertEqual(status, 200)
            return [job["job_id"] for job in answer.get("jobs", [])], got["Age"]
        self.assertEqual(names(Cache_Control="max-age=10"), ([], None))
        job = self.service.submit("shared")
        old, age = names(Cache_Control="max-age=10")
        # On a machine that stood still for ten seconds it is too old.
        self.assertIn((old, age is not None), [([], True), ([job], False)])
        for headers in ({}, {"Cache_Control": "no-cache"}, {"Cache_Control": "max-age=0"}):
            self.assertEqual(names(**headers), ([job], None))

    def test_metrics_keep_a_spike_and_name_what_is_not_finite(self):
        folder = pathlib.Path(self.service.ask(f"/v1/jobs/{self.job}")[1]["folder"])
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / "metrics.jsonl", "w") as file:
            for step in range(1, 20001):
                file.write(json.dumps({"step": step, "loss": None if step == 9 else 99.0 if step == 12345 else 2.0}) + "\n")
        answer = self.service.ask(f"/v1/jobs/{self.job}/metrics?series=loss&buckets=50")[1]
        loss = answer["series"][0]
        self.assertLessEqual(len(loss["steps"]), 50)
        self.assertEqual(max(loss["high"]), 99.0)
        self.assertEqual((loss["not_finite"], loss["not_finite_steps"]), ("1", ["9"]))
        part = self.service.ask(f"/v1/jobs/{self.job}/metrics?series=loss&first_step=12340&last_step=12350")[1]["series"][0]
        self.assertEqual(part["values"][5], 99.0)

    def test_requests_are_bounded(self):
        self.assertEqual(self.service.ask("/v1/jobs", headers={"X-Long": "x" * 20000})[0], 431)
        self.assertEqual(self.service.ask(f"/v1/jobs/{self.job}:cancel", "POST", body=b" " * 100000)[0], 413)
        for text in (b"nonsense\r\n\r\n", b"GET /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n", b"GET /v1/jobs HTTP/1.1\r\nHost: a b\r\nBad Header: 1\r\n\r\n"):
            with self.subTest(text=text), socket.create_connection(self.service.address.split(":"), PATIENCE) as connection:
                connection.sendall(text)
                self.assertTrue(connection.recv(100).startswith(b"HTTP/1.1 4"))

    def test_who_says_nothing_makes_room(self):
        silent = [socket.create_connection(self.service.address.split(":"), PATIENCE) for _ in range(600)]
        try:
            self.assertEqual(self.service.ask("/v1/queues")[0], 200)
            # The oldest was closed, long before its time.
            silent[0].settimeout(PATIENCE)
            self.assertEqual(silent[0].recv(1), b"")
        finally:
            for connection in silent:
                connection.close()

    def test_open_pages_leave_room_for_commands_and_for_each_other(self):
        streams = [socket.create_connection(self.service.address.split(":"), PATIENCE) for _ in range(300)]
        try:
            for connection in streams:
                connection.sendall(b"GET /v1/events?from_now=true HTTP/1.1\r\nHost: localhost\r\n\r\n")
            self.assertEqual({connection.recv(12) for connection in streams}, {b"HTTP/1.1 200"})
            self.assertIn(self.job, self.service.cli("list"))
            self.assertEqual(self.service.ask("/v1/queues")[0], 200)
        finally:
            for connection in streams:
                connection.close()

    def test_beyond_loopback_it_needs_tls(self):
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run([PROGRAMS / "galleon-scheduler", "--data", folder, "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--http", "0.0.0.0:0"],
                                  capture_output=True, text=True, timeout=PATIENCE, check=False)
        self.assertEqual(done.returncode, 2)
        self.assertIn("--http 0.0.0.0:0 would be open to other machines", done.stdout + done.stderr)


class TokenTest(unittest.TestCase):
    """With TLS and roles, which tokens stand for."""

    @classmethod
    def setUpClass(cls):
        folder = pathlib.Path(tempfile.mkdtemp(prefix="galleon-page-"))
        subprocess.run([PROGRAMS / "galleon", "admin", "init-tls", folder / "tls", "--host", "127.0.0.1", "--host", "localhost"], check=True, capture_output=True)
        access = "principals:\n  admin: {certificate: admin, roles: {'*': operator}}\n"
        for name, token in TOKENS.items():
            access += f"  {name}: {{token_sha256: {hashlib.sha256(token.encode()).hexdigest()}, roles: {ROLES[name]}}}\n"
        (folder / "access.yaml").write_text(access)
        (folder / "queues.yaml").write_text(QUEUES)
        cls.service = Service(PROGRAMS, "--tls", folder / "tls/server", "--access", folder / "access.yaml", "--queues", folder / "queues.yaml", folder=folder).start()
        cls.service.environment["GALLEON_TLS"] = str(folder / "tls/admin")
        cls.job = cls.service.submit("secret")

    @classmethod
    def tearDownClass(cls):
        cls.service.stop()

    def test_who_shows_no_token_or_an_unknown_one_is_not_let_in(self):
        for headers in ({}, {"Authorization": "Bearer " + "x" * 20}, {"Authorization": "Basic YTpi"}, {"Cookie": f"token={TOKENS['ann']}"}):
            with self.subTest(headers=headers):
                status, answer, got = self.service.ask("/v1/jobs", headers=headers)
                self.assertEqual((status, got["WWW-Authenticate"]), (401, "Bearer"))
                self.assertEqual(answer["error"]["status"], "UNAUTHENTICATED")
        # The page itself tells nothing.
        self.assertEqual(self.service.ask("/", raw=True)[0], 200)

    def test_roles_are_those_of_the_services(self):
        path = f"/v1/jobs/{self.job}"
        self.assertEqual(self.service.ask(path, token=TOKENS["bob"])[1]["job_id"], self.job)
        self.assertEqual(self.service.ask(f"{path}:hold", "POST", token=TOKENS["bob"])[0], 403)
        for below in ("", "/attempts", "/metrics", "/log", "/watch"):
            status, answer, _ = self.service.ask(path + below, token=TOKENS["eve"])
            self.assertEqual((status, answer["error"]["reason"]), (404, "JOB_NOT_FOUND"), below)
            self.assertEqual(answer, json.loads(json.dumps(self.service.ask(f"/v1/jobs/none-1{below}", token=TOKENS["eve"])[1]).replace("none-1", self.job)))
        self.assertEqual(self.service.ask("/v1/jobs", token=TOKENS["eve"])[1]["jobs"], [])
        self.assertEqual(self.service.ask("/v1/events", token=TOKENS["bob"])[0], 403)
        self.assertEqual(self.service.ask(f"{path}:hold", "POST", {"reason": "later"}, token=TOKENS["ann"])[1]["hold_reason"], "later")
        self.assertEqual(self.service.ask(f"{path}:release", "POST", token=TOKENS["ann"])[0], 200)
        lines = eventually("the audit", lambda: [json.loads(line) for line in (self.service.folder / "scheduler/audit.jsonl").read_text().splitlines() if "HoldJob" in line and "ann" in line])
        self.assertTrue(any("http:127.0.0.1:" in json.dumps(line) for line in lines), lines)

    def test_an_answer_is_shared_with_nobody_who_may_not_see_it(self):
        whole = {"Cache-Control": "max-age=10"}
        self.assertEqual(len(self.service.ask("/v1/jobs", token=TOKENS["bob"], headers=whole)[1]["jobs"]), 1)
        self.assertEqual(self.service.ask("/v1/jobs", token=TOKENS["eve"], headers=whole)[1]["jobs"], [])
        self.assertEqual(self.service.ask("/v1/jobs", headers=whole)[0], 401)
        # Nor with who was taken out meanwhile.
        access = self.service.folder / "access.yaml"
        before = access.read_text()
        try:
            access.write_text("".join(line for line in before.splitlines(True) if "  bob:" not in line))
            self.service.cli("admin", "reload")
            self.assertEqual(self.service.ask("/v1/jobs", token=TOKENS["bob"], headers=whole)[0], 401)
        finally:
            access.write_text(before)
            self.service.cli("admin", "reload")

    def test_the_token_is_nowhere_in_the_log(self):
        self.service.ask(f"/v1/jobs?token={TOKENS['ann']}")
        self.service.ask("/v1/jobs", token=TOKENS["ann"])
        self.assertNotIn(TOKENS["ann"], (self.service.folder / "scheduler.log").read_text())


if __name__ == "__main__":
    unittest.main()
