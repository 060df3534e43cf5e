# SPDX-License-Identifier: Apache-2.0
"""The recipes of docs/deploy.md: what they name exists, what belongs together fits, and what can be run here does
what it says."""
import os
import pathlib
import re
import shlex
import subprocess
import urllib.error
import urllib.request

import lib
from lib import TOP, App, equal, limit, needs, parallel, program, until

TEXT = (TOP / "docs/deploy.md").read_text()
INSTALLED = {"/usr/lib/x86_64-linux-gnu/libpprofagent.so": "libpprofagent.so",
             "/usr/libexec/pprofagent-symbolize": "pprofagent-symbolize"}


def blocks(kind):
    return re.findall(rf"^```{kind}\n(.*?)^```", TEXT, re.M | re.S)


def block_with(kind, word):
    found, = [b for b in blocks(kind) if word in b]
    return found


def yaml_of(text):
    try:
        import yaml
    except ImportError:
        lib.skip("needs python3-yaml")
    return list(yaml.safe_load_all(text))


def settings():
    return {"PPROF_" + name for name in re.findall(r'^OPTION\(\w+,\s*\w+,\s*"(\w+)"', (TOP / "agent/options.def").read_text(), re.M)}


def answers_to_its_token(env, token):
    """The program under that environment, the library taken from the build and the port a free one: it answers to
    the token and to nobody else."""
    address = env["PPROF_ADDR"]
    assert address.endswith(":6060"), address
    with App(program("idle"), stdin=-1, addr=address.replace(":6060", ":0"),
             env={k: v for k, v in env.items() if k not in ("LD_PRELOAD", "PPROF_ADDR", "PPROF_EXE")}) as app:
        url = f"http://127.0.0.1:{app.where[1]}/debug/pprof/heap"
        try:
            urllib.request.urlopen(url)
            raise AssertionError("no token was needed")
        except urllib.error.HTTPError as error:
            equal(error.code, 401)
        if token:
            equal(subprocess.run(["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", url.replace("//", f"//x:{token}@")],
                                 capture_output=True, text=True).stdout, "200")


def files_in_container(directory, files):
    """A directory as the recipe fills it: a program preloads from there, and its profiles have lines."""
    for path in files:
        assert path in INSTALLED, f"make deb does not install {path}"
        (directory / os.path.basename(path)).write_bytes((lib.BUILD / INSTALLED[path]).read_bytes())
        os.chmod(directory / os.path.basename(path), 0o755)
    with App(program("any_child"), stdin=-1, memprofilerate=1, preload=directory / "libpprofagent.so") as app:
        equal(app.line(), "ready")
        until(lambda: any(line.line for loc in app.profile("heap").locations for line in loc.lines), "lines", 30)


@parallel
def test_every_setting_exists():
    named = set(re.findall(r"\bPPROF_[A-Z_]+\b", TEXT))
    equal(named - settings(), set())
    links = re.findall(r"\]\(([^)#:]+)\)", TEXT)
    equal([name for name in links if not (TOP / "docs" / name).exists()], [])


@parallel
@limit(60)
def test_docker():
    needs("curl")
    run, = [b for b in blocks("sh") if "docker run" in b]
    words = shlex.split(run.replace("\\\n", " ").splitlines()[0])
    given = lambda option: [b for a, b in zip(words, words[1:]) if a == option]
    env = dict(word.split("=", 1) for word in given("-e"))
    mounts = [word.split(":") for word in given("-v")]
    equal([m[2] for m in mounts], ["ro"] * len(mounts))
    assert env["LD_PRELOAD"] in [m[1] for m in mounts], env
    equal({os.path.dirname(m[1]) for m in mounts}, {os.path.dirname(env["LD_PRELOAD"])}, "the symbolizer lies beside the library")
    files_in_container(lib.scratch(), [m[0] for m in mounts])
    inside = given("-p")[0].rsplit(":", 1)[1]
    assert env["PPROF_ADDR"].endswith(":" + inside) and set(env) - {"LD_PRELOAD"} <= settings(), env
    assert f"http://x:{env['PPROF_TOKEN']}@localhost:{given('-p')[0].split(':')[1]}/" in run, run
    answers_to_its_token(env, env["PPROF_TOKEN"])


@parallel
@limit(60)
def test_kubernetes():
    needs("curl")
    deployment, = yaml_of(block_with("yaml", "kind: Deployment"))
    pod = deployment["spec"]["template"]["spec"]
    equal(deployment["spec"]["selector"]["matchLabels"], deployment["spec"]["template"]["metadata"]["labels"])
    volumes = {volume["name"] for volume in pod["volumes"]}
    init, = pod["initContainers"]
    container, = pod["containers"]
    places = [{mount["name"]: mount["mountPath"] for mount in each["volumeMounts"]} for each in (init, container)]
    assert set(places[0]) | set(places[1]) <= volumes, (places, volumes)
    # what the init container copies, and to where, as the container sees it
    command = init["command"]
    equal(command[0], "cp")
    equal(command[-1].rstrip("/"), places[0]["pprof"])
    env = {row["name"]: row.get("value") for row in container["env"]}
    equal(env["LD_PRELOAD"], f"{places[1]['pprof']}/{os.path.basename(command[1])}")
    files_in_container(lib.scratch(), command[1:-1])
    assert set(env) - {"LD_PRELOAD"} <= settings(), env
    port = str(container["ports"][0]["containerPort"])
    assert env["PPROF_ADDR"].endswith(":" + port), env
    equal(deployment["spec"]["template"]["metadata"]["annotations"]["pprofagent/port"], port)
    secret, = [row for row in container["env"] if "valueFrom" in row]
    equal(secret["name"], "PPROF_TOKEN")
    answers_to_its_token({**env, "PPROF_TOKEN": "of the secret"}, None)


def faults_of_unit(drop_in):
    directory = lib.scratch()
    (directory / "myservice.service.d").mkdir()
    (directory / "myservice.service.d/pprofagent.conf").write_text(drop_in)
    (directory / "myservice.service").write_text("[Service]\nExecStart=/bin/true\n")
    done = subprocess.run([needs("systemd-analyze"), "verify", "--man=no", directory / "myservice.service"], capture_output=True,
                          text=True, env={**lib.environment(), "SYSTEMD_UNIT_PATH": f"{directory}:"})
    return [line for line in done.stderr.splitlines() if str(directory) in line or "pprofagent" in line]


@parallel
@limit(60)
def test_systemd():
    """The drop-in names settings that exist; systemd finds no fault with a unit that has it."""
    unit = block_with("ini", "[Service]")
    env = dict(re.findall(r"^Environment=(\w+)=(.*)$", unit, re.M))
    assert set(env) - {"LD_PRELOAD"} <= settings(), env
    assert env["LD_PRELOAD"].endswith("/$LIB/libpprofagent.so"), env
    socket = env["PPROF_ADDR"].removeprefix("unix:")
    equal(pathlib.PurePath(socket).parent, pathlib.PurePath("/run") / re.search(r"^RuntimeDirectory=(.*)$", unit, re.M).group(1))
    assert f"curl --unix-socket {socket} " in TEXT and f"ssh -N -L 6060:{socket} " in TEXT
    if not faults_of_unit(unit.replace("Environment=PPROF_EXE", "Enviroment=PPROF_EXE")):
        lib.skip("systemd-analyze finds no faults here")
    equal(faults_of_unit(unit), [])


@parallel
@limit(60)
def test_unix_socket():
    """The two commands of the document, but for place and duration."""
    needs("curl")
    commands = [b for b in blocks("sh") if "--unix-socket" in b][0].splitlines()
    directory = lib.scratch()
    with App(program("spin"), 1, unix=True) as app:
        equal(app.line(), "ready")
        command = commands[0].replace("/run/myservice/pprof.sock", app.where).replace("seconds=10", "seconds=1")
        assert app.where in command
        subprocess.run(command, shell=True, cwd=directory, check=True, capture_output=True, env=lib.environment())
    assert "spin_hot" in lib.decoded((directory / "cpu.pb.gz").read_bytes()).flat("cpu")


@parallel
@limit(60)
def test_scrape_configurations():
    """They read the files that PPROF_SD_DIR makes, and labels that these have."""
    import json
    directory = re.search(r"PPROF_SD_DIR=(/\S+?)`", TEXT).group(1)
    with App(program("idle"), stdin=-1, sd_dir=(here := lib.scratch())) as app:
        target, = until(lambda: list(here.glob("*.json")), "the target file")
        (entry,) = json.loads(target.read_text())
        assert str(app.where[1]) in entry["targets"][0], entry
    labels = set(entry["labels"])
    alloy, = blocks("alloy")
    equal(alloy.count("{"), alloy.count("}"))
    equal(re.findall(r'files = \["([^"]*)"', alloy), [f"{directory}/*.json"])
    assert set(re.findall(r'source_labels = \["(\w+)"\]', alloy)) <= labels, labels
    equal(entry["labels"]["__pprof_path__"], re.search(r'regex\s*= "([^"]*)"', alloy).group(1))
    for word in ("# prometheus.yml", "# parca.yaml"):
        config, = yaml_of(block_with("yaml", word))
        (job,) = config["scrape_configs"]
        equal(job["file_sd_configs"][0]["files"], [f"{directory}/*.json"])
        for rule in job.get("relabel_configs", []):
            assert set(rule["source_labels"]) <= labels, rule
            equal(rule["regex"], entry["labels"]["__pprof_path__"])
