"""On a terminal: one table that redraws and disappears, then the answer; and Ctrl-C ends it cleanly."""

from __future__ import annotations

import json
import os
import re
import resource
import select
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

pty = pytest.importorskip("pty")  # not on Windows

if TYPE_CHECKING:
    from tests.cli.conftest import Space

SLOW = """
import time
import cas_run as ct

@ct.electron
def step(i, before):
    print("step", i)
    time.sleep({seconds})
    return i + before

@ct.electron
def last(before):
    return before

@ct.lattice
def slow():
    total = 0
    for i in range(4):
        total = step(i, total)
    return last(total)
"""


def on_a_terminal(space: Space, *words: str, **more: str) -> tuple[int, str]:
    """Status and all that a terminal of 100 columns was sent."""
    leader, follower = pty.openpty()
    import fcntl
    import struct
    import termios

    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    env = space.environment(TERM="xterm-256color", **more)
    process = subprocess.Popen(
        space.command(*words), cwd=space.folder, env=env, stdin=follower, stdout=follower, stderr=follower
    )
    os.close(follower)
    sent = b""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        ready, _, _ = select.select([leader], [], [], 0.1)
        if ready:
            try:
                chunk = os.read(leader, 65536)
            except OSError:  # Linux's way of saying that the other end is closed
                break
            if not chunk:
                break
            sent += chunk
    os.close(leader)
    return process.wait(10), sent.decode()


def seen(sent: str) -> str:
    """Without colours and other escape sequences."""
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", sent).replace("\r", "")


def test_a_slow_run_shows_one_table_and_then_the_answer(space: Space) -> None:
    space.write("slow.py", SLOW.format(seconds=0.4))
    status, sent = on_a_terminal(space, "run", "slow.py", "--executor", "inline")
    text = seen(sent)
    assert status == 0
    for word in ("electron", "hit", "ran", "running", "failed", "0/5", "step 3"):
        assert word in text
    answer = text[text.rindex("slow") :]
    assert "completed" in answer
    assert "result  6" in answer
    assert "ran       step" not in text  # no plain lines beside the table
    assert sent.count("\x1b[?25l") == sent.count("\x1b[?25h") == 1  # the cursor comes back


def test_a_quick_run_shows_no_table(space: Space) -> None:
    space.run("run", "flow.py")
    status, sent = on_a_terminal(space, "redispatch", "@last")
    assert status == 0
    assert "\x1b[?25l" not in sent
    assert "3 hits" in seen(sent)


def test_colour_unless_the_user_does_not_want_any(space: Space) -> None:
    space.run("run", "flow.py")
    assert "\x1b[" in on_a_terminal(space, "show", "@last")[1]
    assert "\x1b[" not in on_a_terminal(space, "show", "@last", NO_COLOR="1")[1]


def test_lines_fit_the_terminal(space: Space) -> None:
    space.write("long.py", SLOW.format(seconds=0).replace("step", "step_with_a_name_that_goes_on_" + "and_on_" * 15))
    _, sent = on_a_terminal(space, "run", "long.py", NO_COLOR="1")
    table = seen(sent)[seen(sent).rindex("electron") :].splitlines()[:3]
    assert max(map(len, table)) <= 100


def wait_for(process: subprocess.Popen[str], word: str) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if word in line:
            return
    pytest.fail(f"it ended without saying {word!r}")


def test_ctrl_c_cancels_and_a_redispatch_takes_it_up(space: Space) -> None:
    space.write("slow.py", SLOW.format(seconds=0.5))
    process = space.start("run", "slow.py", "--executor", "inline", "--json")
    wait_for(process, "ran       step")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "takes it up again" in err
    assert "Traceback" not in err
    assert '"kind": "Interrupted"' in out
    listed = space.run("list", "--json").json["dispatches"]
    assert listed[0]["status"] == "CANCELLED"
    again = space.run("redispatch", "@last", "--json").json
    assert again["status"] == "COMPLETED"
    assert again["hits"] >= 1
    assert again["hits"] + again["ran"] == 5


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_what_ends_programs_cancels_too_and_says_how_to_go_on(space: Space, number: int, status: int) -> None:
    space.write("slow.py", SLOW.format(seconds=0.5))
    process = space.start("run", "slow.py", "--json")
    wait_for(process, "ran       step")
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert process.returncode == status, err
    told = json.loads(out)["error"]
    assert (told["kind"], told["exit_status"], len(told["dispatch_id"])) == ("Interrupted", status, 32)
    assert "takes it up again" in told["advice"]
    assert space.run("show", "@last", "-q").out == "cancelled\n"
    again = space.run("redispatch", "@last", "--json").json
    assert (again["status"], again["hits"] >= 1) == ("COMPLETED", True)


def test_ctrl_c_does_not_wait_for_ever(space: Space) -> None:
    space.write("endless.py", SLOW.format(seconds=300))
    for executor in ("thread", "inline"):
        process = space.start("run", "endless.py", "--executor", executor)
        wait_for(process, "step")
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
        assert process.returncode == 130
        assert time.monotonic() - began < 8
        assert space.run("show", "@last", "-q").out.strip() in ("cancelled", "interrupted")


def test_ctrl_c_while_the_file_is_imported(space: Space) -> None:
    space.write("waiting.py", "import sys, time\nprint('importing', flush=True)\ntime.sleep(60)\n")
    process = space.start("run", "waiting.py")
    wait_for(process, "importing")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Traceback" not in err


def test_the_command_can_be_called_in_a_thread(space: Space) -> None:
    program = """
        import threading
        from cas_run.start import main
        thread = threading.Thread(target=main)
        thread.start()
        thread.join()
    """
    command = [sys.executable, "-c", textwrap.dedent(program), "run", "flow.py", "-q"]
    done = subprocess.run(command, cwd=space.folder, env=space.environment(), capture_output=True, text=True)
    assert (done.returncode, len(done.stdout.strip())) == (0, 32), done.stderr


def test_ctrl_c_before_the_command_is_loaded_is_silent(space: Space) -> None:
    program = """
        import os, signal, sys
        signal.signal(signal.SIGINT, signal.default_int_handler)

        class Impatient:
            def find_spec(self, name, *_):
                if name == sys.argv[2]:
                    os.kill(os.getpid(), signal.SIGINT)

        sys.meta_path.insert(0, Impatient())
        from cas_run.start import main
        sys.exit(main())
    """
    for module, status in (("click", -signal.SIGINT), ("cas_run.commands.list", 130)):
        command = [sys.executable, "-c", textwrap.dedent(program), "list", module]
        done = subprocess.run(command, env=space.environment(), capture_output=True, text=True)
        assert done.returncode == status
        assert "Traceback" not in done.stderr


def test_another_process_cancels(space: Space) -> None:
    space.write("slow.py", SLOW.format(seconds=0.5))
    process = space.start("run", "slow.py", "--executor", "inline")
    wait_for(process, "step 0")
    assert space.run("cancel", "@last", "--json").json["cancelled"] is True
    out, err = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "cancelled" in out
    assert "takes up what is missing" in err


def test_killed_it_is_interrupted_and_taken_up(space: Space) -> None:
    space.write("slow.py", SLOW.format(seconds=0.5))
    process = space.start("run", "slow.py", "--executor", "inline")
    wait_for(process, "ran       step")
    wait_for(process, "ran       step")  # so the first of them has long been durable
    process.kill()
    process.communicate(timeout=20)
    assert space.run("show", "@last", "-q").out == "interrupted\n"
    again = space.run("redispatch", "@last", "--json").json
    assert again["status"] == "COMPLETED"
    assert again["hits"] >= 1


def start_of(code: str, repeats: int = 7) -> float:
    """The processor time of the cheapest of some starts: what it costs when nothing else runs."""
    times = []
    for _ in range(repeats):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(times)


def modules_after(word: str, env: dict[str, str]) -> str:
    code = f"import sys; from cas_run.main import main; main([{word!r}]); print([*sys.modules], file=sys.stderr)"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env).stderr


def test_it_has_nothing_to_be_warned_of(space: Space) -> None:
    """PYTHONWARNINGS=error, as in many a CI: what is left open is told when the interpreter ends."""
    strict = space.environment(PYTHONWARNINGS="error")
    assert space.run("run", "-q", "flow.py", env=strict).err == "loading 4\n"
    for words in (("list",), ("show", "@last"), ("result", "@last", "--json"), ("doctor",)):
        assert space.run(*words, env=strict).err == ""


def test_the_command_loads_no_engine_to_show_its_help() -> None:
    loaded = modules_after("--help", env=dict(os.environ))
    for heavy in ("cas_engine.graphs.electron", "cas_store.store", "lmdb", "cloudpickle", "rich", "numpy", "asyncio"):
        assert f"'{heavy}'" not in loaded


def test_listing_loads_no_more_than_it_needs(space: Space) -> None:
    space.run("run", "flow.py")
    loaded = modules_after("list", env=space.environment())
    for heavy in ("rich", "numpy", "pandas"):
        assert f"'{heavy}'" not in loaded


@pytest.mark.slow
def test_the_command_starts_in_the_time_that_click_needs_twice() -> None:
    click = start_of("import click")
    own = start_of("from cas_run.main import main; main(['--help'])")
    assert own < 2 * click + 0.02, f"{own * 1e3:.0f} ms against {click * 1e3:.0f} ms"
    assert Path(sys.executable).exists()


def test_a_stderr_that_takes_nothing_changes_neither_answer_nor_status(space: Space) -> None:
    def run(*words: str, to: str) -> tuple[int, str]:
        done = subprocess.run(
            ["bash", "-c", f'"$@" {to}', "bash", *space.command(*words)],
            cwd=space.folder,
            env=space.environment(),
            capture_output=True,
            text=True,
        )
        return done.returncode, done.stdout

    for to in ("2>/dev/full", "2>&-"):
        status, out = run("run", "flow.py", "--json", to=to)
        assert (status, json.loads(out)["status"]) == (0, "COMPLETED")
        assert run("run", "fails.py", "-q", to=to)[0] == 1
        assert run("show", "ffff", to=to) == (4, "")
