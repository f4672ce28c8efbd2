"""The command as a shell sees it: statuses, one JSON object, answers on stdout, everything else on stderr."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Space


def statuses(answer: dict[str, object]) -> dict[str, str]:
    nodes = answer["nodes"]
    assert isinstance(nodes, list)
    return {node["label"]: node["status"] for node in nodes}


def test_a_run_answers_on_stdout_and_reports_on_stderr(space: Space) -> None:
    done = space.run("run", "flow.py:flow", "-p", "n=3")
    assert done.status == 0
    assert "completed" in done.out
    assert "{'total': 3.0" in done.out
    assert "loading 3" in done.err
    assert "loading" not in done.out
    assert "ran       load" in done.err
    assert "\x1b" not in done.out + done.err


def test_run_again_everything_is_a_hit(space: Space) -> None:
    first = space.run("run", "flow.py", "--json").json
    again = space.run("run", "flow.py", "--json").json
    assert set(statuses(first).values()) == {"ran"}
    assert set(statuses(again).values()) == {"hit"}
    assert again["result"] == first["result"]
    assert again["dispatch_id"] != first["dispatch_id"]


def test_inputs_are_converted_by_annotation(space: Space) -> None:
    done = space.run("run", "flow.py:flow", "-p", "n=3", "-p", "power=2", "--json").json
    assert done["result"]["value"]["total"] == 5.0
    assert done["inputs"]["power"] == "2.0"


def test_what_electrons_print_never_mixes_with_json(space: Space) -> None:
    space.write(
        "noisy.py",
        "import os, subprocess, sys\nprint('at import')\nimport cas_run as ct\n"
        "@ct.electron\ndef shout():\n"
        "    os.write(1, b'bytes\\n'); subprocess.run(['echo', 'child']); print('print')\n"
        "@ct.lattice\ndef noisy(): print('tracing'); return shout()\n",
    )
    done = space.run("run", "noisy.py", "--json")
    assert done.json["status"] == "COMPLETED"
    for word in ("at import", "tracing", "bytes", "child", "print"):
        assert word in done.err


def test_quiet_leaves_the_id_alone(space: Space) -> None:
    done = space.run("run", "flow.py", "-q")
    assert len(done.out.strip()) == 32
    assert done.err == "loading 4\n"
    again = space.run("redispatch", "-q", done.out.strip())
    assert (again.status, again.err) == (0, "")


def test_verbose_tells_every_node(space: Space) -> None:
    space.run("run", "flow.py")
    done = space.run("run", "flow.py", "-v")
    assert done.status == 0
    redone = space.run("redispatch", "@last", "-v", "-p", "power=2")
    assert "hit       load" in redone.err
    assert "start     total" in redone.err


def test_a_redispatch_runs_what_hangs_on_the_new_input(space: Space) -> None:
    first = space.run("run", "flow.py", "--json").json
    again = space.run("redispatch", first["dispatch_id"][:8], "-p", "power=2", "--json").json
    assert statuses(again) == {"load": "hit", "total": "ran", "draw": "hit"}
    assert again["parent"] == first["dispatch_id"]
    assert again["result"]["value"]["total"] == 14.0
    assert again["result"]["value"]["draw"] == first["result"]["value"]["draw"]


def test_a_redispatch_needs_no_file(space: Space) -> None:
    space.run("run", "flow.py")
    (space.folder / "flow.py").unlink()
    again = space.run("redispatch", "@last", "-p", "n=5", "--json")
    assert again.json["result"]["value"]["total"] == 10.0


def test_an_electron_is_replaced_by_a_function_of_a_file(space: Space) -> None:
    space.run("run", "flow.py")
    space.write("other.py", "def biggest(values, power):\n    return max(values) * power\n")
    again = space.run("redispatch", "@last", "--replace", "total=other.py:biggest", "--json").json
    assert again["replaced"] == {"total": "biggest"}
    assert again["result"]["value"]["total"] == 3.0


def test_recompute_takes_words_and_names(space: Space) -> None:
    space.run("run", "flow.py")
    by_word = {
        word: statuses(space.run("redispatch", "@last", *word.split(), "--json").json)
        for word in ("--recompute stochastic", "--recompute load,total", "--no-reuse", "--recompute all")
    }
    assert by_word["--recompute stochastic"] == {"load": "hit", "total": "hit", "draw": "ran"}
    assert by_word["--recompute load,total"] == {"load": "ran", "total": "ran", "draw": "hit"}
    assert set(by_word["--no-reuse"].values()) == {"ran"}
    assert set(by_word["--recompute all"].values()) == {"ran"}
    mixed = space.run("redispatch", "@last", "--recompute", "all,total")
    assert mixed.status == 2


def test_a_plan_runs_nothing_and_check_tells_by_status(space: Space) -> None:
    before = space.run("plan", "flow.py:flow", "--check", "--json")
    assert before.status == 5
    assert before.json["misses"] + before.json["unknown"] == 3
    assert "loading" not in before.err
    space.run("run", "flow.py")
    assert space.run("plan", "flow.py:flow", "--check").status == 0
    assert space.run("plan", "@last").status == 0
    changed = space.run("plan", "@last", "-p", "power=2", "--check")
    assert changed.status == 5
    assert "would run" in changed.out
    assert "1.0 → 2.0" in changed.out
    same = space.run("redispatch", "@last", "-p", "power=2", "--plan")
    assert (same.status, same.out) == (0, changed.out)
    assert len(space.run("list", "--json").json["dispatches"]) == 1


def test_list_show_and_result_agree(space: Space) -> None:
    ran = space.run("run", "flow.py", "--json").json
    listed = space.run("list", "--json").json["dispatches"]
    assert [one["dispatch_id"] for one in listed] == [ran["dispatch_id"]]
    shown = space.run("show", "@last", "--json").json
    assert shown["result"] == ran["result"]
    assert shown["nodes"] == ran["nodes"]
    answer = space.run("result", "@last", "--json").json
    assert answer["value"] == ran["result"]["value"]
    assert space.run("result", "@last", "--node", "load").out == "[0, 1, 2, 3]\n"
    text = space.run("list").out
    assert ran["dispatch_id"][:12] in text
    assert space.run("list", "-q").out.split() == [ran["dispatch_id"]]
    facts = space.run("show", "@last").out
    assert "input n" in facts
    assert ran["dispatch_id"] in facts


def test_list_selects(space: Space) -> None:
    space.run("run", "flow.py")
    space.run("run", "fails.py")
    space.run("run", "flow.py", "-p", "n=2")
    assert len(space.run("list", "-q", "--lattice", "flow").out.split()) == 2
    assert len(space.run("list", "-q", "--status", "failed").out.split()) == 1
    assert len(space.run("list", "-q", "-n", "1").out.split()) == 1
    assert len(space.run("list", "-q", "-n", "0").out.split()) == 3
    assert space.run("list", "--lattice", "none").out == ""


def test_nothing_to_list_on_a_new_machine(space: Space) -> None:
    env = space.environment()
    del env["CAS_RUN_STORE"]
    done = space.run("list", env=env)
    assert (done.status, done.out) == (0, "")
    assert "no dispatches yet" in done.err
    assert space.run("list", "--json", env=env).json == {"dispatches": []}


def test_the_default_store_lies_in_the_users_data_folder(space: Space) -> None:
    env = space.environment()
    del env["CAS_RUN_STORE"]
    assert space.run("run", "flow.py", env=env).status == 0
    assert (space.home / ".local" / "share" / "cas-run" / "store").is_dir()
    assert space.run("show", "@last", env=env).status == 0


def test_a_failed_workflow_is_status_1_with_the_users_frames(space: Space) -> None:
    done = space.run("run", "fails.py")
    assert done.status == 1
    assert "electron breaks failed" in done.err
    assert "ValueError: no such mass" in done.err
    assert "fails.py" in done.err
    assert "cas_engine" not in done.err
    assert "takes up what is missing" in done.err
    answer = space.run("run", "fails.py", "--json")
    assert answer.status == 1
    assert answer.json["status"] == "FAILED"
    assert answer.json["result"] is None
    assert statuses(answer.json) == {"fine": "hit", "breaks": "failed", "after": "skipped"}
    assert space.run("result", "@last").status == 1
    assert "no such mass" in space.run("result", "@last", "--node", "breaks").err
    assert space.run("result", "@last", "--node", "fine").out == "1\n"


def test_a_failure_is_repaired_by_replacement(space: Space) -> None:
    space.run("run", "fails.py")
    space.write("repaired.py", "def mended(x):\n    return x + 1\n")
    done = space.run("redispatch", "@last", "--replace", "breaks=repaired.py:mended", "--json")
    assert done.status == 0
    assert statuses(done.json) == {"fine": "hit", "breaks": "ran", "after": "ran"}
    assert done.json["result"]["value"] == 2


def test_diff_tells_two_dispatches_apart(space: Space) -> None:
    space.run("run", "flow.py")
    space.run("redispatch", "@last", "-p", "power=2")
    assert "power" in space.run("diff", "@last~1", "@last").out
    assert isinstance(space.run("diff", "@last~1", "@last", "--json").json, dict)


def test_rm_removes_all_or_nothing(space: Space) -> None:
    one = space.run("run", "flow.py", "-q").out.strip()
    two = space.run("run", "flow.py", "-q", "-p", "n=2").out.strip()
    assert space.run("rm", one, "ffffffff").status == 4
    assert len(space.run("list", "-q").out.split()) == 2
    assert space.run("rm", one, "@last", "--json").json == {"removed": [one, two]}
    assert space.run("list", "-q").out == ""
    assert space.run("show", one).status == 4
    assert set(statuses(space.run("run", "flow.py", "--json").json).values()) == {"hit"}


def test_cancelling_what_is_over_changes_nothing(space: Space) -> None:
    space.run("run", "flow.py")
    done = space.run("cancel", "@last", "--json")
    assert done.status == 0
    assert done.json["cancelled"] is False
    assert done.json["status"] == "COMPLETED"


@pytest.mark.parametrize("before", [True, False])
def test_shared_options_may_stand_on_either_side(space: Space, before: bool) -> None:
    shared = ["--json", "--store", str(space.folder / "here")]
    words = [*shared, "run", "flow.py"] if before else ["run", "flow.py", *shared]
    assert space.run(*words).json["status"] == "COMPLETED"
    assert (space.folder / "here").is_dir()


def test_a_reader_who_leaves_early_is_no_error(space: Space) -> None:
    space.run("run", "flow.py")
    command = " ".join(space.command("show", "@last"))
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command} | true"],
        cwd=space.folder,
        env=space.environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode in (0, 141)
    assert done.stderr == ""


def test_closed_streams_are_no_error(space: Space) -> None:
    command = " ".join(space.command("run", "flow.py"))
    for closed in (">&-", "2>&-", ">&- 2>&-", "<&-"):
        done = subprocess.run(
            ["bash", "-c", f"{command} {closed}"],
            cwd=space.folder,
            env=space.environment(),
            capture_output=True,
        )
        assert done.returncode == 0, closed
        assert b"Traceback" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_under_stdout_is_told(space: Space) -> None:
    command = " ".join(space.command("list", "--json"))
    done = subprocess.run(
        ["bash", "-c", f"{command} > /dev/full"],
        cwd=space.folder,
        env=space.environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 74
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


def test_a_terminal_without_unicode_is_no_error(space: Space) -> None:
    env = space.environment(PYTHONIOENCODING="ascii", PYTHONUTF8="0", LC_ALL="C")
    space.run("run", "flow.py")
    done = space.run("plan", "@last", "-p", "power=2", env=env)
    assert done.status == 0
    assert "1.0 ? 2.0" in done.out


def test_the_installed_script_is_the_same_command(space: Space) -> None:
    script = Path(sys.executable).parent / "cas-run"
    done = subprocess.run([script, "--version"], env=space.environment(), capture_output=True, text=True)
    assert done.stdout.startswith("cas-run ")


def test_a_users_module_never_stands_in_for_one_of_ours(space: Space) -> None:
    # Beside the flow, as people have them: names of the standard library and of what the command needs.
    for name in ("queue", "store", "engine", "cli", "rich", "table", "uuid", "concurrent"):
        space.write(f"{name}.py", "raise RuntimeError('the wrong one')\n")
    # The script, not `python -m`: that one puts the folder on the path before anything of ours is loaded.
    script = Path(sys.executable).parent / "cas-run"
    done = subprocess.run(
        [script, "run", "flow.py", "--json"],
        cwd=space.folder,
        env=space.environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["status"] == "COMPLETED"


def test_what_a_lattice_raises_is_the_users_and_status_1(space: Space) -> None:
    space.write(
        "raises.py",
        "import json\nimport cas_run as ct\n@ct.electron\ndef one(): return 1\n"
        "@ct.lattice\ndef raises(): one(); return json.loads('{')\n",
    )
    done = space.run("run", "raises.py", "--json")
    assert done.status == 1
    assert done.json["error"]["kind"] == "JSONDecodeError"
    assert "raises.py" in done.err
    assert "cas_engine" not in done.err
    assert "fault of cas-run" not in done.err


def test_a_result_that_can_not_be_loaded_takes_nothing_from_the_rest(space: Space) -> None:
    space.write(
        "moody.py",
        "import cas_run as ct\nclass Moody:\n    def __setstate__(self, state): raise OSError('not today')\n"
        "    def __getstate__(self): return {'a': 1}\n"
        "@ct.electron\ndef make(): return Moody()\n@ct.lattice\ndef moody(): return make()\n",
    )
    done = space.run("run", "moody.py")
    assert done.status == 0
    assert "can't be loaded" in done.out
    assert "not today" in space.run("show", "@last", "--json").json["result"]["error"]
