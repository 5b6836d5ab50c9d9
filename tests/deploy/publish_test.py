#!/usr/bin/env python3
"""The workflow that publishes a release, as far as it can be known without a registry: its form, its commands, and its own scripts run.

    publish_test.py

check-jsonschema (tests/tools.sh) brings the workflow's schema; GALLEON_CHECK_JSONSCHEMA names another place of it.
"""

import os
import pathlib
import re
import shutil
import subprocess
import tarfile
import tempfile
import unittest

import chart

chart.need_tools()

WORKFLOW = chart.ROOT / ".github/workflows/release.yml"
RELEASE = chart.ROOT / "deploy/release"
CHECK = os.environ.get("GALLEON_CHECK_JSONSCHEMA") or shutil.which("check-jsonschema", path=f"{chart.TOOLS}/venv/bin:{os.environ['PATH']}")
DIGESTS = ["sha256:" + letter * 64 for letter in "abc"]


def run(*command, **more):
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, **more)


class WorkflowTest(unittest.TestCase):
    def setUp(self):
        self.text = WORKFLOW.read_text()
        self.jobs = chart.yaml.safe_load(self.text)["jobs"]

    def steps(self):
        for job in self.jobs.values():
            yield from job["steps"]

    @unittest.skipIf(CHECK is None, "check-jsonschema is not installed")
    def test_it_is_a_workflow_by_its_schema_and_a_misspelt_key_is_none(self):
        for text, right in ((self.text, True), (self.text.replace("runs-on", "run-on", 1), False)):
            with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
                file.write(text)
                file.flush()
                done = run(CHECK, "--builtin-schema", "vendor.github-workflows", file.name)
            self.assertEqual(done.returncode == 0, right, done.stdout)

    def test_a_shell_understands_its_commands_and_the_scripts_that_they_call_are_there(self):
        scripts = set()
        for step in self.steps():
            if "run" in step:
                script = re.sub(r"\$\{\{.*?\}\}", "VALUE", step["run"])
                self.assertEqual(run("bash", "-n", input=script).returncode, 0, script)
                scripts |= set(re.findall(r"deploy/release/\w+\.sh", script))
        self.assertEqual(scripts, {str(path.relative_to(chart.ROOT)) for path in RELEASE.glob("*.sh")})
        for file in re.findall(r"--file (\S+)", self.text):
            self.assertTrue((chart.ROOT / file).exists(), file)
        self.assertTrue(os.access(chart.ROOT / "deploy/package/lint.sh", os.X_OK))

    def test_what_it_builds_is_a_stage_with_arguments_that_it_knows(self):
        for step in self.steps():
            for command in re.findall(r"docker buildx build (?:.*\\\n)*.*", step.get("run", "")):
                file = (chart.ROOT / re.search(r"--file (\S+)", command).group(1)).read_text()
                target = re.search(r'--target ("[^"]*"|\S+)', command).group(1).strip('"')
                targets = self.jobs["images"]["strategy"]["matrix"]["image"] if "matrix" in target else [target]
                for each in targets:
                    self.assertRegex(file, rf"(?m)^FROM .* AS {each}$")
                for argument in re.findall(r'--build-arg "(\w+)=', command):
                    self.assertRegex(file, rf"(?m)^ARG {argument}\b", argument)

    def test_a_fork_runs_it_as_it_is(self):
        self.assertNotRegex(self.text, r"ghcr\.io/\w")
        self.assertEqual(set(re.findall(r"secrets\.(\w+)", self.text)), {"GITHUB_TOKEN"})

    def test_rights_are_given_to_the_jobs_that_need_them(self):
        self.assertEqual(chart.yaml.safe_load(self.text)["permissions"], {"contents": "read"})
        self.assertEqual({name for name, job in self.jobs.items() if "write" in str(job.get("permissions"))}, {"images", "cuda", "publish"})
        self.assertEqual([name for name, job in self.jobs.items() if "id-token" in job.get("permissions", {})], ["publish"])

    def test_nothing_is_published_unless_a_tag_was_pushed(self):
        for step in self.steps():
            script = step.get("run", "")
            if re.search(r"\b(login|push|sign|gh release|imagetools)\b", script) and "PUBLISH\" = true" not in script:
                self.assertEqual(step.get("if"), "env.PUBLISH == 'true'", script)

    def test_images_come_with_what_they_are_made_of_for_two_architectures(self):
        self.assertEqual(len(self.jobs["images"]["strategy"]["matrix"]["runner"]), 2)
        for name in ("images", "cuda"):
            build = next(step["run"] for step in self.jobs[name]["steps"] if step.get("name") == "build")
            self.assertIn("--sbom=true --provenance=mode=max", build)


class ScriptTest(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="galleon-publish-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.environment = {**os.environ, "HELM": str(chart.HELM), "HOME": str(self.folder)}

    def test_a_tag_of_another_version_is_refused_with_what_differs(self):
        version = re.search(r"project\(galleon VERSION ([\d.]+)", (chart.ROOT / "CMakeLists.txt").read_text()).group(1)
        self.assertEqual(run(RELEASE / "version.sh", f"v{version}").stdout.strip(), version)
        other = run(RELEASE / "version.sh", "v9.9.9")
        self.assertNotEqual(other.returncode, 0)
        for named in ("CMakeLists.txt", "Chart.yaml: version", "Chart.yaml: appVersion", "compose.yaml: the tag of galleon/worker"):
            self.assertIn(named, other.stderr)
        for wrong in (version, "v1", "v1.2.3; true"):
            self.assertIn("is no tag of a release", run(RELEASE / "version.sh", wrong).stderr)

    def test_the_base_is_the_newest_dated_image(self):
        tags = "latest\nbookworm-slim\nbookworm-20250520-slim\nbookworm-20251117-slim\nbookworm-20260101\ntrixie-20260101-slim\n"
        self.assertEqual(run(RELEASE / "base.sh", input=tags).stdout.strip(), "debian:bookworm-20251117-slim")
        self.assertNotEqual(run(RELEASE / "base.sh", input="latest\n").returncode, 0)
        for file in ("Dockerfile",):
            self.assertRegex((chart.ROOT / "deploy/images" / file).read_text(), r"ARG BASE=debian:bookworm-\d{8}-slim\n")

    def package(self, *digests, **more):
        return run(RELEASE / "chart.sh", self.folder, "registry.example.org/team", *digests, env={**self.environment, **more})

    def test_the_published_chart_names_its_images_by_digest(self):
        done = self.package(*DIGESTS, SOURCE="https://git.example.org/team/galleon")
        self.assertEqual(done.returncode, 0, done.stderr)
        archive = done.stdout.strip()
        rendered = chart.helm("template", "r", archive, "--set", "workers.gpu.gpus=1,workers.cpu.slots=1")
        self.assertEqual(rendered.returncode, 0, rendered.stderr)
        images = {spec["containers"][0]["image"] for _, _, spec in chart.pod_specs(e for e in chart.yaml.safe_load_all(rendered.stdout) if e)}
        names = ("scheduler", "worker", "worker-cuda")
        version = chart.yaml.safe_load((chart.CHART / "Chart.yaml").read_text())["version"]
        self.assertEqual(images, {f"registry.example.org/team/galleon/{name}:{version}@{digest}" for name, digest in zip(names, DIGESTS)})
        with tarfile.open(archive) as packed:
            about = chart.yaml.safe_load(packed.extractfile("galleon/Chart.yaml").read())
            held = packed.getnames()
        self.assertEqual(about["sources"], ["https://git.example.org/team/galleon"])
        self.assertIn("galleon/rules/alerts.yaml", held)
        self.assertFalse([name for name in held if name.endswith(".py")])

    def test_an_image_without_a_digest_keeps_its_tag_and_a_wrong_one_is_refused(self):
        done = self.package("-", "-", "-")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("is no digest", self.package("-", "latest", "-").stderr)

    def test_the_image_for_gpus_has_no_test_suites(self):
        bundle = self.folder / "bundle"
        (bundle / "deploy/examples").mkdir(parents=True)
        (bundle / "tests/fixtures").mkdir(parents=True)
        (bundle / "bin").mkdir()
        # As deploy/bundle.sh makes it.
        suites = re.search(r"^programs=\((.*)\)", (chart.ROOT / "deploy/bundle.sh").read_text(), re.MULTILINE).group(1).split()
        for name in [*suites, "libgalleon_sentencepiece.so", "libyaml-cpp.so.0.8"]:
            (bundle / "bin" / name).write_text("")
        (bundle / "LICENSE").write_text("")
        done = run("sh", chart.ROOT / "deploy/images/programs.sh", bundle, self.folder / "programs")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(sorted(path.name for path in (self.folder / "programs/bin").iterdir()),
                         ["galleon", "galleon-scheduler", "galleon-trainer", "galleon-worker", "libgalleon_sentencepiece.so", "libyaml-cpp.so.0.8"])
        self.assertFalse((self.folder / "programs/tests").exists())
        last = (chart.ROOT / "deploy/images/cuda.Dockerfile").read_text().split("AS worker\n")[1]
        self.assertEqual(re.findall(r"--from=build (\S+)", last), ["/programs"])
        self.assertIn("runtime", re.search(r"ARG RUNTIME=(\S+)", (chart.ROOT / "deploy/images/cuda.Dockerfile").read_text()).group(1))


if __name__ == "__main__":
    unittest.main()
