"""Servers of object stores on loopback, and a proxy before one that is slow, cuts answers short, refuses, or is busy."""

import http.client
import http.server
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

import boto3

from runs import SECRET, RunsTest


class StoreServer:
    """moto's server. `close` ends it."""

    def __init__(self):
        self.log = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen([os.path.join(os.path.dirname(sys.executable), "moto_server"), "-H", "127.0.0.1", "-p", "0"],
                                        stdout=self.log, stderr=subprocess.STDOUT)
        self.address = None
        while self.address is None:
            if self.process.poll() is not None:
                raise RuntimeError("the S3 server ended")
            self.log.seek(0)
            found = re.search(r"http://127\.0\.0\.1:(\d+)", self.log.read())
            if found:
                self.address = found.group(0)
            time.sleep(0.05)
        self.client = boto3.client("s3", endpoint_url=self.address, region_name="us-east-1", aws_access_key_id="id", aws_secret_access_key=SECRET)

    def close(self):
        self.process.terminate()
        self.process.wait()
        self.log.close()

    def put(self, bucket, key, body):
        self.client.put_object(Bucket=bucket, Key=key, Body=body)

    def keys(self, bucket, prefix=""):
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return sorted(entry["Key"] for page in pages for entry in page.get("Contents", []))


class GoogleStore:
    """An emulator of Google's store, without credentials."""

    def __init__(self):
        self.process = subprocess.Popen([os.path.join(os.path.dirname(sys.executable), "gcp-storage-emulator"), "start", "--host=127.0.0.1",
                                         "--port=0", "--in-memory"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.address = None
        while self.address is None:
            if self.process.poll() is not None:
                raise RuntimeError("the emulator ended")
            port = self.port()
            self.address = f"http://127.0.0.1:{port}" if port else None
            time.sleep(0.05)

    def port(self):
        """It does not tell which port the kernel chose: the one that its process listens on."""
        inodes = set()
        for link in pathlib.Path(f"/proc/{self.process.pid}/fd").iterdir():
            try:
                inodes.add(os.readlink(link).removeprefix("socket:[").removesuffix("]"))
            except OSError:
                pass
        for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and words[9] in inodes:
                return int(words[1].split(":")[1], 16)
        return None

    def post(self, path, body, kind):
        request = urllib.request.Request(self.address + path, data=body, headers={"Content-Type": kind})
        with urllib.request.urlopen(request) as answer:
            assert answer.status == 200

    def create(self, bucket):
        self.post("/storage/v1/b?project=p", json.dumps({"name": bucket}).encode(), "application/json")

    def put(self, bucket, key, body):
        self.post(f"/upload/storage/v1/b/{bucket}/o?uploadType=media&name={key}", body, "application/octet-stream")

    def close(self):
        self.process.terminate()
        self.process.wait()


class Proxy:
    """Hands requests on. `trouble(method, path)` gives None, or one of "cut", "slow", "busy", "refuse", "wait"."""

    def __init__(self, server, trouble=lambda method, path: None):
        self.trouble = trouble
        self.requests = []
        target = server.address.split("//")[1]
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def read_body(self):
                length = self.headers.get("Content-Length")
                if length:
                    return self.rfile.read(int(length))
                body = b""
                while self.headers.get("Transfer-Encoding") == "chunked":
                    size = int(self.rfile.readline().split(b";")[0], 16)
                    body += self.rfile.read(size)
                    self.rfile.readline()
                    if size == 0:
                        break
                return body

            def answer(self, status, body):
                self.send_response(status)
                self.send_header("Content-Type", "application/xml")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def handle_one(self):
                body = self.read_body()
                proxy.requests.append((self.command, self.path))
                trouble = proxy.trouble(self.command, self.path)
                if trouble == "refuse":
                    return self.answer(403, b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>")
                if trouble == "busy":
                    return self.answer(503, b"<Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>")
                connection = http.client.HTTPConnection(target)
                connection.request(self.command, self.path, body, {k: v for k, v in self.headers.items() if k.lower() not in ("expect", "transfer-encoding", "content-length")})
                response = connection.getresponse()
                content = response.read()
                connection.close()
                self.send_response(response.status)
                for key, value in response.getheaders():
                    if key.lower() not in ("transfer-encoding", "connection", "content-length", "date", "server"):
                        self.send_header(key, value)
                length = response.getheader("Content-Length") if self.command == "HEAD" else None
                self.send_header("Content-Length", length or str(len(content)))
                self.end_headers()
                if trouble == "cut":
                    self.wfile.write(content[: len(content) // 2])
                    self.close_connection = True
                elif trouble == "slow":
                    step = max(1, len(content) // 20)
                    for begin in range(0, len(content), step):
                        self.wfile.write(content[begin : begin + step])
                        self.wfile.flush()
                        time.sleep(0.05)
                elif self.command != "HEAD":
                    self.wfile.write(content)

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_one

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.http.server_address[1]}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def close(self):
        self.http.shutdown()
        self.http.server_close()


class StoreTest(RunsTest):
    """Runs that reach a store of their own, with one bucket."""

    def start_store(self, bucket):
        self.server = StoreServer()
        self.addCleanup(self.server.close)
        self.server.client.create_bucket(Bucket=bucket)
        self.use(self.server.address)

    def use(self, address):
        self.environment.update(AWS_ENDPOINT_URL=address, AWS_ACCESS_KEY_ID="id", AWS_SECRET_ACCESS_KEY=SECRET)
