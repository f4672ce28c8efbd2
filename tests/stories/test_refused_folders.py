"""A folder that is not fit is refused by the command: status 3, a line that says why, a line that says what to do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

MAKE = """
import sys
from cas_store import Put, PutBlob, Store, Table
with Store.open(sys.argv[1]) as store:
    store.commit([PutBlob(store.prepare([bytes(100_000)]))])
    store.commit([Put(Table.NODES, b"%d" % n, bytes(900)) for n in range(300)])
"""

WORKFLOW = """
import cas_run as ct

@ct.electron
def one():
    return 1

@ct.lattice
def flow():
    return one()
"""


def data(store: Path) -> Path:
    return store / "durable" / "data.mdb"


def cut(store: Path) -> None:
    os.truncate(data(store), data(store).stat().st_size // 2)


def newer(store: Path) -> None:
    identity = json.loads((store / "STORE").read_text())
    (store / "STORE").write_text(json.dumps({**identity, "format": 99}))


def anothers_rows(store: Path) -> None:
    other = store.with_name("other")
    subprocess.run([sys.executable, "-c", MAKE, str(other)], check=True)
    shutil.copy(data(other), data(store))


def only_a_file(store: Path) -> None:
    shutil.rmtree(store)
    store.write_text("notes")


def somebodys_files(store: Path) -> None:
    shutil.rmtree(store)
    store.mkdir()
    (store / "thesis.tex").touch()


HARMS: dict[str, tuple[Any, str]] = {
    "truncated": (cut, "damaged"),
    "emptied": (lambda store: data(store).write_bytes(b""), "lost its rows"),
    "its rows removed": (lambda store: shutil.rmtree(store / "durable"), "lost its rows"),
    "garbage": (lambda store: data(store).write_bytes(os.urandom(50_000)), "damaged"),
    "STORE without sense": (lambda store: (store / "STORE").write_bytes(b"{"), "STORE is not readable"),
    "a newer version's": (newer, "upgrade cas-run"),
    "another store's rows": (anothers_rows, "belongs to another store"),
    "writable by others": (lambda store: store.chmod(0o777), "chmod 700"),
    "a file": (only_a_file, "not a folder"),
    "full of other things": (somebodys_files, "store"),
}
if os.geteuid() == 0:
    HARMS["somebody else's"] = (lambda store: os.chown(store, 12345, -1), "another user")


@pytest.fixture
def store(user: Any) -> Path:
    subprocess.run([sys.executable, "-c", MAKE, str(user.store)], check=True)
    path: Path = user.store
    return path


def refused(user: Any, words: str, *command: str) -> None:
    environment = user.environment(PYTHONWARNINGS="")
    done = subprocess.run(command, env=environment, cwd=user.folder, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (3, ""), done.stderr
    said, *advice = done.stderr.splitlines()
    assert words in done.stderr, done.stderr
    assert str(user.store) in said or "store" in said
    assert [line.strip().startswith("->") for line in advice] == [True], done.stderr


def listing(path: Path) -> list[tuple[str, int]]:
    return sorted((str(each), each.stat().st_size) for each in path.rglob("*") if "live" not in each.parts)


@pytest.mark.promise("ground")
@pytest.mark.parametrize("harm", HARMS)
def test_the_command_refuses_it_and_touches_nothing(user: Any, store: Path, harm: str) -> None:
    do, words = HARMS[harm]
    do(store)
    before = listing(store)
    refused(user, words, sys.executable, "-m", "cas_run", "list")
    user.write("flow.py", WORKFLOW)
    refused(user, words, sys.executable, "-m", "cas_run", "run", "flow.py")
    assert listing(store) == before


@pytest.mark.promise("ground")
@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs"])
def test_a_network_file_system_is_refused(user: Any, store: Path, kind: str) -> None:
    """The system is made to say that the folder is on one: a table of mounts that was put over the true one."""
    mounts = user.root / "mounts"
    table = Path("/proc/self/mountinfo")
    if not table.exists():
        pytest.skip("this system does not tell")
    mounts.write_text(table.read_text() + f"9999 1 0:99 / {store} rw - {kind} server:/export rw\n")
    script = 'mount --bind "$1" /proc/$$/mountinfo || exit 77; shift; exec "$@"'
    command = ["unshare", "--mount", "--map-root-user", "sh", "-c", script, "sh", str(mounts)]
    if subprocess.run([*command, "true"], capture_output=True).returncode:
        pytest.skip("no table of mounts can be put over the true one here")
    refused(user, kind, *command, sys.executable, "-m", "cas_run", "list")


@pytest.mark.promise("ground")
def test_a_read_only_mount_is_refused(user: Any, store: Path) -> None:
    script = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" || exit 77; shift; exec "$@"'
    command = ["unshare", "--mount", "--map-root-user", "sh", "-c", script, "sh", str(store)]
    if subprocess.run([*command, "true"], capture_output=True).returncode:
        pytest.skip("no mount namespaces here")
    refused(user, "writable", *command, sys.executable, "-m", "cas_run", "list")
