"""What can't be done is refused before anything runs, with a status and a way out; help and completion teach."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Space


USAGE = [
    ("runn",),
    ("run",),
    ("run", "missing.py:flow"),
    ("run", "flow.py:nothing"),
    ("run", "flow.py:load"),
    ("run", "flow.py", "-p", "n=many"),
    ("run", "flow.py", "-p", "m=1"),
    ("run", "flow.py", "-p", "n"),
    ("run", "flow.py", "--executor", "cloud"),
    ("list", "extra"),
    ("list", "--status", "odd"),
    ("list", "-n", "many"),
    ("run", "."),
    ("run", "no-module"),
    ("run", "x" * 300 + ".py:flow"),
    ("run", ""),
    ("export", "a.bundle"),
    ("list", "--server", "two words"),
    ("completion", "tcsh"),
    ("--nonsense",),
]


@pytest.mark.parametrize("words", USAGE, ids=" ".join)
def test_wrong_usage_is_status_2_and_one_clear_line(space: Space, words: tuple[str, ...]) -> None:
    done = space.run(*words, "--json")
    assert done.status == 2
    assert done.json["error"]["exit_status"] == 2
    assert done.json["error"]["message"]
    assert done.err.startswith("error: ")
    assert "Traceback" not in done.err
    assert not space.store.exists() or space.run("list", "--json").json == {"dispatches": []}


def test_a_number_may_be_more_than_anything_has(space: Space) -> None:
    many = "9" * 25
    assert space.run("run", "-q", "flow.py").status == 0
    assert len(space.run("list", "--json", "-n", many).json["dispatches"]) == 1
    assert space.run("gc", "--keep-last", many).status == 0
    assert space.run("show", f"@last~{many}").status == 4
    assert space.run("show", "@last~" + "9" * 5000).status == 4


def test_from_a_folder_that_is_gone_what_is_named_in_full_still_works(space: Space) -> None:
    gone = space.folder / "gone"

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = f"mkdir {gone} && cd {gone} && rmdir {gone} && " + " ".join(space.command(*words))
        return subprocess.run(["bash", "-c", command], env=space.environment(), capture_output=True, text=True)

    assert run("run", "-q", str(space.folder / "flow.py")).returncode == 0
    assert run("list").returncode == 0
    for target in ("../flow.py", "flow"):
        done = run("run", target)
        assert (done.returncode, done.stderr.split("\n")[0]) == (2, "error: the working folder is not there any more")


def test_a_config_file_with_other_sections_alone_is_not_passed_over(space: Space) -> None:
    config = space.write("config.ini", "[casrun]\nworkers = 2\n")
    done = space.run("list", env=space.environment(CAS_RUN_CONFIG=str(config)))
    assert (done.status, "it is to be [cas-run]" in done.err) == (2, True)


REDISPATCH_USAGE = [
    ("-p", "m=1"),
    ("-p", "n=many"),
    ("--replace", "totl=flow.py:load"),
    ("--replace", "total=flow.py:load"),
    ("--replace", "total"),
    ("--replace", "total=flow.py:missing"),
    ("--recompute", "totl"),
]


def test_a_wrong_redispatch_is_refused_before_anything_runs(space: Space) -> None:
    space.run("run", "flow.py")
    for words in REDISPATCH_USAGE:
        done = space.run("redispatch", "@last", *words, "--json")
        assert (words, done.status) == (words, 2)
        assert done.json["error"]["advice"], words
    assert "did you mean `total`?" in space.run("redispatch", "@last", "--recompute", "totl").err
    assert len(space.run("list", "-q").out.split()) == 1


@pytest.mark.parametrize("words", [("show",), ("result",), ("redispatch",), ("cancel",), ("rm",), ("plan",)])
def test_what_is_not_there_is_status_4(space: Space, words: tuple[str, ...]) -> None:
    space.run("run", "flow.py", "-q")
    done = space.run(*words, "0123456789ab", "--json")
    assert done.status == 4
    assert done.json["error"]["kind"] == "UnknownDispatch"


def test_a_node_that_is_not_there_is_status_4(space: Space) -> None:
    space.run("run", "flow.py")
    done = space.run("result", "@last", "--node", "laod")
    assert done.status == 4
    assert "did you mean `load`?" in done.err


def test_a_store_that_can_not_be_used_is_status_3(space: Space) -> None:
    missing = space.folder / "nowhere"
    done = space.run("list", "--store", str(missing), "--json")
    assert done.status == 3
    assert str(missing) in done.json["error"]["message"]
    assert not missing.exists()
    file = space.write("a_file", "not a store")
    assert space.run("run", "flow.py", "--store", str(file)).status == 3
    folder = space.write("full/of.txt", "something else").parent
    assert space.run("run", "flow.py", "--store", str(folder)).status == 3
    assert [f.name for f in folder.iterdir()] == ["of.txt"]


def test_help_teaches_with_examples(space: Space) -> None:
    done = space.run("--help")
    assert done.status == 0
    names = "run redispatch list show result plan diff cancel rm completion".split()  # noqa: SIM905
    for name in names:
        assert f"\n  {name} " in done.out
        told = space.run(name, "--help")
        assert told.status == 0
        assert f"cas-run {name}" in told.out
        assert "Examples:" in told.out
    bare = space.run()
    assert (bare.status, bare.out) == (2, "")
    assert "Usage: cas-run" in bare.err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_name_the_command(space: Space, shell: str) -> None:
    done = space.run("completion", shell)
    assert done.status == 0
    assert "_CAS_RUN_COMPLETE" in done.out
    assert done.err == ""


def completed(space: Space, *words: str) -> list[str]:
    command = ["cas-run", *words]
    env = space.environment(
        _CAS_RUN_COMPLETE="zsh_complete", COMP_WORDS=" ".join(command), COMP_CWORD=str(len(command) - 1)
    )
    code = "from cas_run.main import main; main()"
    done = subprocess.run([sys.executable, "-c", code], env=env, cwd=space.folder, capture_output=True, text=True)
    return [line for line in done.stdout.split("\n")[1::3] if line]


def test_commands_ids_lattices_and_inputs_complete(space: Space) -> None:
    full = space.run("run", "flow.py", "-q").out.strip()
    assert completed(space, "re") == ["redispatch", "result"]
    assert completed(space, "show", full[:3]) == [full[:12]]
    assert completed(space, "show", "@") == ["@last", "@last~1"]
    assert completed(space, "run", "flow.py:f") == ["flow.py:flow"]
    assert completed(space, "run", "flow.py:flow", "-p", "") == ["n=", "power="]
    assert completed(space, "redispatch", full, "-p", "p") == ["power="]


def test_bash_completes_what_it_takes_apart_itself(space: Space) -> None:
    space.run("run", "flow.py", "-q")
    script = space.write("completion", space.run("completion", "bash").out)
    space.write("cas-run", f'#!/bin/sh\nexec {" ".join(space.command())} "$@"\n').chmod(0o700)

    def replies(*lines: str) -> list[list[str]]:
        ask = "COMP_LINE=$line COMP_POINT=${#line}; _cas_run_completion ./cas-run; echo ${COMPREPLY[@]}"
        code = f"source {script}; compopt() {{ :; }}; while read -r line; do line=${{line%.}}; {ask}; done"
        told = "".join(f"{line}.\n" for line in lines)
        done = subprocess.run(
            ["bash", "-c", code], input=told, env=space.environment(), cwd=space.folder, capture_output=True, text=True
        )
        assert done.stderr == ""
        return [line.split() for line in done.stdout.splitlines()]

    # What stands before the last `:` or `=` is there already: bash puts the reply behind it.
    assert replies(
        "cas-run re",
        "cas-run show @l",
        "cas-run show @last~",
        "cas-run run flow.py:",
        "cas-run run flow.py:flow -p p",
        "cas-run result @last --node lo",
        "cas-run redispatch @last --replace lo",
        "cas-run redispatch @last --replace load=flow.py:l",
    ) == [
        ["redispatch", "result"],
        ["@last", "@last~1"],
        ["@last~1"],
        ["flow"],
        ["power="],
        ["load"],
        ["load="],
        ["load"],
    ]


def test_completion_without_a_store_offers_nothing(space: Space) -> None:
    assert completed(space, "show", "f") == []
    assert not space.store.exists()
