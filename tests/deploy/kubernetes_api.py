"""A small API server of Kubernetes for tests: enough of discovery and of objects for helm to install, upgrade, look up, roll back and remove.

Objects are kept and given back, and watched; nothing acts on them but the test: there are no controllers, no admission and no validation.
"""

import base64
import http.server
import json
import threading
import urllib.parse

import yaml

GROUPS = {
    "v1": {"namespaces": ("Namespace", False), "configmaps": ("ConfigMap", True), "secrets": ("Secret", True), "services": ("Service", True),
           "serviceaccounts": ("ServiceAccount", True), "persistentvolumeclaims": ("PersistentVolumeClaim", True), "pods": ("Pod", True)},
    "apps/v1": {"statefulsets": ("StatefulSet", True), "deployments": ("Deployment", True)},
    "batch/v1": {"jobs": ("Job", True)},
    "networking.k8s.io/v1": {"networkpolicies": ("NetworkPolicy", True)},
    "policy/v1": {"poddisruptionbudgets": ("PodDisruptionBudget", True)},
    "rbac.authorization.k8s.io/v1": {"roles": ("Role", True), "rolebindings": ("RoleBinding", True)},
}


SHORT = {"persistentvolumeclaims": ["pvc"]}
PROTOBUF = b"k8s\0"


def protobuf_fields(data):
    """(number, value) of a message; values are whole numbers or bytes."""

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    at = 0
    while at < len(data):
        tag = varint()
        if tag & 7 == 0:
            yield tag >> 3, varint()
        else:
            assert tag & 7 == 2, tag
            length = varint()
            yield tag >> 3, data[at:at + length]
            at += length


def protobuf_map(pairs):
    return {dict(protobuf_fields(pair))[1].decode(): dict(protobuf_fields(pair)).get(2, b"") for pair in pairs}


def secret_of(body):
    """A Secret as helm stores its releases: Kubernetes' own protobuf (k8s.io/api/core/v1, generated.proto), in an envelope."""
    raw = dict(protobuf_fields(body[len(PROTOBUF):]))[2]
    fields = list(protobuf_fields(raw))
    metadata = list(protobuf_fields(next(value for number, value in fields if number == 1)))
    return {"apiVersion": "v1", "kind": "Secret", "type": next(value.decode() for number, value in fields if number == 3),
            "metadata": {"name": next(value.decode() for number, value in metadata if number == 1),
                         "labels": {k: v.decode() for k, v in protobuf_map(value for number, value in metadata if number == 11).items()}},
            "data": {k: base64.b64encode(v).decode() for k, v in protobuf_map(value for number, value in fields if number == 2).items()}}


def merged(old, new):
    """JSON merge patch."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    result = dict(old)
    for key, value in new.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


class KubernetesApi:
    """Listens on loopback until close(). `objects`: (resource, namespace, name) to the object; `written`: what was asked to change."""

    def __init__(self, namespace):
        self.objects = {("namespaces", "", namespace): {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}}
        self.written = []
        self.revision = 0
        self.lock = threading.Lock()
        self.changed = threading.Condition(self.lock)
        self.events = []  # (revision, key, kind of event, object)
        self.closing = False
        api = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def handle_one(self):
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length) if length else b""
                if self.command == "GET" and "watch=" in self.path:
                    return self.watch()
                if self.path.startswith("/openapi/v2"):
                    # A document without definitions, in protobuf: what is not described is not checked.
                    self.send_response(200)
                    self.send_header("Content-Type", "application/octet-stream")
                    self.send_header("Content-Length", "0")
                    return self.end_headers()
                with api.lock:
                    status, said = api.answer(self.command, self.path, body, self.headers.get("Content-Type", ""))
                text = json.dumps(said).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def watch(self):
                """Lines of events until the server closes or the caller goes."""
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Connection", "close")
                self.end_headers()
                self.close_connection = True
                try:
                    for event in api.watched(self.path):
                        self.wfile.write(json.dumps(event).encode() + b"\n")
                        self.wfile.flush()
                except (BrokenPipeError, ConnectionResetError):
                    pass

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_one

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def close(self):
        with self.changed:
            self.closing = True
            self.changed.notify_all()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def of(self, resource):
        """Objects of a resource by name."""
        return {name: each for (kind, _, name), each in self.objects.items() if kind == resource}

    def put_status(self, resource, namespace, name, status):
        """What a controller would say of an object."""
        with self.changed:
            key = (resource, namespace, name)
            self.keep(key, {**self.objects[key], "status": status}, False)

    def happened(self, key, kind, each):
        self.events.append((self.revision, key, kind, each))
        self.changed.notify_all()

    def watched(self, path):
        """Events of a resource: what is there where no revision is given, then what happens."""
        url = urllib.parse.urlsplit(path)
        query = {key: values[0] for key, values in urllib.parse.parse_qs(url.query).items()}
        parts = url.path.strip("/").split("/")
        version, rest = (parts[1], parts[2:]) if parts[0] == "api" else ("/".join(parts[1:3]), parts[3:])
        namespace = ""
        if rest[0] == "namespaces" and len(rest) > 2:
            namespace, rest = rest[1], rest[2:]
        resource, kind = rest[0], GROUPS[version][rest[0]][0]
        fields = dict(term.split("=", 1) for term in query.get("fieldSelector", "").split(",") if term)

        def meant(key, each):
            return (key[0] == resource and namespace in ("", key[1]) and fields.get("metadata.name", key[2]) == key[2] and
                    self.selected(each, query.get("labelSelector", "")))

        from_start = query.get("resourceVersion", "0") in ("", "0")
        with self.changed:
            seen = self.revision if from_start else int(query["resourceVersion"])
            first = [{"type": "ADDED", "object": each} for key, each in self.objects.items() if from_start and meant(key, each)]
            if query.get("sendInitialEvents") == "true":
                first.append({"type": "BOOKMARK", "object": {"apiVersion": version, "kind": kind, "metadata": {
                    "resourceVersion": str(self.revision), "annotations": {"k8s.io/initial-events-end": "true"}}}})
        yield from first
        while True:
            with self.changed:
                self.changed.wait_for(lambda: self.closing or self.revision > seen)
                if self.closing:
                    return
                new = [{"type": what, "object": each} for revision, key, what, each in self.events if revision > seen and meant(key, each)]
                seen = self.revision
            yield from new

    @staticmethod
    def refusal(status, reason, message):
        return status, {"apiVersion": "v1", "kind": "Status", "status": "Failure", "reason": reason, "code": status, "message": message}

    def answer(self, method, path, body, content_type):
        url = urllib.parse.urlsplit(path)
        query = urllib.parse.parse_qs(url.query)
        parts = url.path.strip("/").split("/")
        found = self.discovery(parts)
        if found is not None:
            return 200, found
        if parts[0] == "api":
            version, rest = parts[1], parts[2:]
        elif parts[0] == "apis" and len(parts) > 3:
            version, rest = "/".join(parts[1:3]), parts[3:]
        else:
            return self.refusal(404, "NotFound", f"there is no {url.path}")
        namespace = ""
        if rest[0] == "namespaces" and len(rest) > 2:
            namespace, rest = rest[1], rest[2:]
        resource, name = rest[0], rest[1] if len(rest) > 1 else None
        if resource not in GROUPS.get(version, {}):
            return self.refusal(404, "NotFound", f"there is no {url.path}")
        return self.on_object(method, version, (resource, namespace, name), query, body, content_type)

    @staticmethod
    def discovery(parts):
        if parts == ["version"]:
            return {"major": "1", "minor": "33", "gitVersion": "v1.33.0"}
        if parts == ["api"]:
            return {"kind": "APIVersions", "versions": ["v1"]}
        if parts == ["apis"]:
            groups = []
            for each in GROUPS:
                if "/" in each:
                    version = {"groupVersion": each, "version": each.split("/")[1]}
                    groups.append({"name": each.split("/")[0], "versions": [version], "preferredVersion": version})
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
        version = "/".join(parts[1:])
        if parts[0] in ("api", "apis") and version in GROUPS:
            return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": [
                {"name": name, "singularName": kind.lower(), "kind": kind, "namespaced": namespaced, "shortNames": SHORT.get(name, []),
                 "verbs": ["create", "delete", "get", "list", "patch", "update", "watch"]} for name, (kind, namespaced) in GROUPS[version].items()]}
        return None

    def on_object(self, method, version, key, query, body, content_type):
        resource, namespace, name = key
        dry = "dryRun" in query
        if method == "GET" and name is None:
            items = [each for (kind, where, _), each in self.objects.items()
                     if kind == resource and namespace in ("", where) and self.selected(each, query.get("labelSelector", [""])[0])]
            return 200, {"apiVersion": version, "kind": GROUPS[version][resource][0] + "List", "metadata": {"resourceVersion": str(self.revision)},
                         "items": items}
        new = None
        if body and method != "DELETE":
            new = secret_of(body) if body.startswith(PROTOBUF) else yaml.safe_load(body)
        if method == "POST":
            key = (resource, namespace, new["metadata"]["name"])
            if key in self.objects:
                return self.refusal(409, "AlreadyExists", f"{resource} {key[2]} is there already")
            return 201, self.keep(key, new, dry)
        old = self.objects.get(key)
        applied = method == "PATCH" and "apply" in content_type
        if old is None and not applied:
            return self.refusal(404, "NotFound", f'{resource} "{name}" not found')
        if method == "GET":
            return 200, old
        if method == "DELETE":
            if not dry:
                self.written.append(("delete", resource, name))
                del self.objects[key]
                self.revision += 1
                self.happened(key, "DELETED", {**old, "metadata": {**old["metadata"], "resourceVersion": str(self.revision)}})
            return 200, {"apiVersion": "v1", "kind": "Status", "status": "Success"}
        if method == "PATCH" and not applied:
            if "merge-patch" not in content_type or "strategic" in content_type:
                return self.refusal(415, "UnsupportedMediaType", content_type)
            new = merged(old, new)
        return 200, self.keep(key, new, dry)

    @staticmethod
    def selected(each, selector):
        labels = each["metadata"].get("labels", {})
        return all(labels.get(term.split("=")[0]) == term.split("=")[-1] if "=" in term else term in labels for term in selector.split(",") if term)

    def keep(self, key, new, dry):
        metadata = {**new["metadata"], "uid": "-".join(key), "creationTimestamp": "2025-01-01T00:00:00Z"}
        if key[1]:
            metadata["namespace"] = key[1]
        if not dry:
            self.revision += 1
        metadata["resourceVersion"] = str(self.revision)
        kept = {**new, "metadata": metadata}
        if not dry:
            self.happened(key, "MODIFIED" if key in self.objects else "ADDED", kept)
            self.objects[key] = kept
            self.written.append(("write", key[0], key[2]))
        return kept
