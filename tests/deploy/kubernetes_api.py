"""A small API server of Kubernetes for tests: enough of discovery and of objects for helm to install, upgrade, look up, roll back and remove.

Objects are kept and given back, nothing acts on them: there are no controllers, no admission and no validation.
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
        api = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def handle_one(self):
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length) if length else b""
                with api.lock:
                    status, said = api.answer(self.command, self.path, body, self.headers.get("Content-Type", ""))
                text = json.dumps(said).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_one

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def of(self, resource):
        """Objects of a resource by name."""
        return {name: each for (kind, _, name), each in self.objects.items() if kind == resource}

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
                {"name": name, "singularName": kind.lower(), "kind": kind, "namespaced": namespaced,
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
            return 200, {"apiVersion": "v1", "kind": "Status", "status": "Success"}
        if method == "PATCH" and not applied:
            if "merge-patch" not in content_type or "strategic" in content_type:
                return self.refusal(415, "UnsupportedMediaType", content_type)
            new = merged(old, new)
        return 200, self.keep(key, new, dry)

    @staticmethod
    def selected(each, selector):
        labels = each["metadata"].get("labels", {})
        return all(labels.get(term.split("=")[0]) == term.split("=")[-1] for term in selector.split(",") if term)

    def keep(self, key, new, dry):
        metadata = {**new["metadata"], "uid": "-".join(key), "creationTimestamp": "2025-01-01T00:00:00Z"}
        if key[1]:
            metadata["namespace"] = key[1]
        if not dry:
            self.revision += 1
        metadata["resourceVersion"] = str(self.revision)
        kept = {**new, "metadata": metadata}
        if not dry:
            self.objects[key] = kept
            self.written.append(("write", key[0], key[2]))
        return kept
