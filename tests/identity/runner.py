"""The corpus of before/after projects: how a case is written, how it is played, and what the verdict is.

A script (`python tests/identity/runner.py --help`); test_corpus.py loads it by path.

A theme is a file `cases/<theme>.cases`. A case in it is one project with its edit marked as in a diff:

    === half-width: a literal of the body is code         id: one line why
    runs: smooth                                          electrons that must run again, or `nothing`
    main: smooth(3) => smooth(4)                          what the lattice returns, and after the edit
    --- workflow.py                                       a file; `--- old.py => new.py` moves it,
    @ct.electron                                          `--- + new.py` adds it, `--- - old.py` removes it
    def smooth(x):
    -    return x * 2                                     `-` and `+` in the first column: before, after
    +    return x * 3

Further headers:

    fails: words            instead of `runs`: the second run ends in an error that says these words
    first: fails            before the edit the workflow ends in an error
    allowed: names -- why   another verdict that can be defended
    value: same|changes     where the value does not do what `runs` suggests
    again: names            what may run even when nothing is edited
    args: inputs of main; entry: the module that holds main; how: import, script, cells of a notebook, or
                            capsule: the second run redispatches the first one, beside the edited project
    dist: name version, ... fake installed distributions
    place: same             edited in place, with the file times restored
    python: 3.12; needs: m  the least version; modules that must be there

`main`, `args`, `entry`, `how` and `dist` may have a `=>`. Left out, `main` is `task()`. workflow.py gets
`import cas_run as ct` and the lattice unless it has them. A case `*` at the top of a theme holds files for
those cases that do not bring them; `--- ~ models.py` with blocks of `-` and `+` lines alone edits such a
shared file, `--- x models.py` removes it.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

HERE = Path(__file__).parent
HEADERS = frozenset(
    "runs fails first allowed value again main args entry how dist place python needs".split()  # noqa: SIM905
)
FOLDERS = ("first", "second place", "dritter/ört", "plain")  # where the project lies in each of its runs
LATTICE = "\n\n@ct.lattice\ndef main():\n    return {expression}\n"


@dataclass(frozen=True, slots=True)
class ProjectFile:
    """A file of a case; a path or text is None on the side where the file is absent."""

    before: tuple[str, str] | None
    after: tuple[str, str] | None


@dataclass(frozen=True, slots=True)
class Case:
    theme: str
    id: str
    why: str
    headers: Mapping[str, str]
    files: tuple[ProjectFile, ...]

    @property
    def runs(self) -> tuple[str, ...]:
        return names_in(self.headers.get("runs", "nothing"))

    @property
    def fails(self) -> str:
        return self.headers.get("fails", "")

    @property
    def allowed(self) -> tuple[str, ...] | None:
        text = self.headers.get("allowed")
        return None if text is None else names_in(text.partition(" -- ")[0])

    @property
    def skip(self) -> str:
        """Why this interpreter cannot play the case; empty if it can."""
        version = tuple(int(part) for part in self.headers.get("python", "3.10").split("."))
        if sys.version_info < version:
            return f"needs Python {self.headers['python']}"
        needs = self.headers.get("needs", "").split()
        missing = [name for name in needs if not importlib.util.find_spec(name)]
        return f"needs {missing[0]}" if missing else ""

    @property
    def truth_side(self) -> int:
        """What lies in the project after the edit is true, unless the recorded code runs again."""
        return 0 if self.header("how", 1, "") == "capsule" else 1

    def header(self, name: str, side: int, default: str) -> str:
        before, arrow, after = self.headers.get(name, default).partition(" => ")
        return (after if arrow and side else before).strip()


def names_in(text: str) -> tuple[str, ...]:
    return tuple(sorted(name for name in text.split() if name != "nothing"))


# --- reading


def read_corpus(folder: Path = HERE / "cases") -> list[Case]:
    corpus = [case for path in sorted(folder.glob("*.cases")) for case in read_theme(path)]
    doubles = [name for name, count in Counter(case.id for case in corpus).items() if count > 1]
    if doubles:
        message = f"two cases with one id: {doubles}"
        raise ValueError(message)
    return corpus


def read_theme(path: Path) -> Iterator[Case]:
    shared: list[str] = []
    for chunk in ("\n" + path.read_text(encoding="utf-8")).split("\n=== ")[1:]:
        title, _, rest = chunk.partition("\n")
        head, *sections = ("\n" + rest).split("\n--- ")
        headers = dict(line.split(": ", 1) for line in head.split("\n") if line)
        name, _, why = title.partition(": ")
        if name == "*":
            shared = sections
            continue
        if set(headers) - HEADERS or not why or not {"runs", "fails"} & set(headers):
            message = f"{path.name}: case {name} is not complete: {title!r}, {headers}"
            raise ValueError(message)
        patches = [section for section in sections if section.startswith(("~ ", "x "))]
        given = [patched(section, patches) for section in shared]
        given += [section for section in sections if section not in patches]
        files = dict(read_file(section, headers) for section in given)  # its own come later and win
        yield Case(path.stem, f"{path.stem}/{name}", why, headers, tuple(files.values()))


def read_file(section: str, headers: Mapping[str, str]) -> tuple[str, ProjectFile]:
    title, _, body = section.partition("\n")
    sign = title[:2] if title[:2] in ("+ ", "- ") else ""
    old, _, new = title.removeprefix(sign).partition(" => ")
    sides: list[tuple[str, str] | None] = []
    for side, path in enumerate((old, new or old)):
        text = side_of(body, side)
        if path == "workflow.py" or (title.startswith("workflow.py => ") and new):
            text = completed(text, headers, side)
        sides.append((path.strip(), text))
    return old, ProjectFile(None if sign == "+ " else sides[0], None if sign == "- " else sides[1])


def patched(section: str, patches: Sequence[str]) -> str:
    """A shared file with the edit marked in it: a block of `-` lines is found there, `+` lines follow it."""
    title, _, body = section.partition("\n")
    for patch in patches:
        name, _, hunks = patch.partition("\n")
        if name == f"x {title}":
            return f"- {section}"
        if name.removeprefix("~ ") != title:
            continue
        for hunk in re.findall(r"(?:^-.*\n?)+(?:^\+.*\n?)*", hunks, re.MULTILINE):
            old = "".join(f"{line[1:]}\n" for line in hunk.splitlines() if line.startswith("-"))
            if f"{body}\n".count(old) != 1:
                message = f"{title}: not found just once: {old!r}"
                raise ValueError(message)
            body = f"{body}\n".replace(old, hunk.rstrip("\n") + "\n")
    return f"{title}\n{body}"


def side_of(body: str, side: int) -> str:
    keep, drop = ("+", "-") if side else ("-", "+")
    lines = [line for line in body.split("\n") if not line.startswith(drop)]
    return "\n".join(line.removeprefix(keep) for line in lines).rstrip("\n") + "\n"


def completed(text: str, headers: Mapping[str, str], side: int) -> str:
    if "import cas_run" not in text and "from cas_run" not in text:
        text = f"import cas_run as ct\n{text}"
    if not any(made in text for made in ("def main(", "main = ", "import main")):
        before, arrow, after = headers.get("main", "task()").partition(" => ")
        text += LATTICE.format(expression=after if arrow and side else before)
    return text


# --- playing


class Zygote:
    """A process that plays jobs under one hash seed; a heavy one has NumPy and the like loaded."""

    def __init__(self, hash_seed: int, *, heavy: bool) -> None:
        quiet = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "zygote.py"), *(["--heavy"] if heavy else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env={**os.environ, **quiet, "PYTHONHASHSEED": str(hash_seed)},
        )

    def send(self, job: Mapping[str, object]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()

    def receive(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            message = "the zygote died"
            raise RuntimeError(message)
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        self._process.communicate()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a case: fine, allowed, stale, wasted, error; or corpus, when the case itself is wrong."""

    case: Case
    kind: str
    said: str
    seconds: float

    def __str__(self) -> str:
        return f"{self.kind}: {self.case.id} ({self.case.why})\n  {self.said}"


class Lane:
    """Plays one case after the other, in zygotes of two hash seeds, in folders below `root`."""

    def __init__(self, root: Path, *, plain: bool) -> None:
        self.root = root
        self.plain = plain
        self._zygotes: dict[bool, tuple[Zygote, Zygote]] = {}

    def judge(self, case: Case) -> Verdict:
        start = time.perf_counter()
        root = self.root / case.id
        root.mkdir(parents=True)
        try:
            kind, said = self._verdict_on(case, root)
        finally:
            shutil.rmtree(root, ignore_errors=True)
        return Verdict(case, kind, said, time.perf_counter() - start)

    def _verdict_on(self, case: Case, root: Path) -> tuple[str, str]:
        one, two = self._zygotes_for(case)
        here, there, elsewhere, aside = (root / name for name in FOLDERS)
        same_place = case.headers.get("place") == "same"
        if same_place:
            there = elsewhere = here
        store = None if self.plain else root / "store"
        write_project(case, 0, here)
        write_project(case, case.truth_side, aside)
        two.send(job_for(case, aside, "truth", None))
        one.send(job_for(case, here, "first", store))
        first, truth = one.receive(), two.receive()
        if self.plain:
            return verdict_on_case(case, first, truth)
        write_project(case, 1, there)
        two.send(job_for(case, there, "second", store))
        second = two.receive()
        kind, said = verdict_on_run(case, first, second, truth)
        if kind not in ("fine", "allowed"):
            return kind, said
        unsound = verdict_on_case(case, first, truth)
        if unsound[0] != "fine" or not second.get("ran"):
            return unsound if unsound[0] != "fine" else (kind, said)
        if not same_place:
            write_project(case, case.truth_side, elsewhere)
        one.send(job_for(case, elsewhere, "third", store))
        return verdict_on_rerun(case, kind, said, one.receive())

    def _zygotes_for(self, case: Case) -> tuple[Zygote, Zygote]:
        heavy = "needs" in case.headers
        if heavy not in self._zygotes:
            self._zygotes[heavy] = Zygote(1, heavy=heavy), Zygote(2, heavy=heavy)
        return self._zygotes[heavy]

    def close(self) -> None:
        for pair in self._zygotes.values():
            for zygote in pair:
                zygote.close()


class Player:
    """Several lanes side by side."""

    def __init__(self, root: Path, *, plain: bool = False, lanes: int = 2) -> None:
        self._lanes = [Lane(root, plain=plain) for _ in range(lanes)]
        self._free = queue.SimpleQueue[Lane]()
        for lane in self._lanes:
            self._free.put(lane)
        self._threads = ThreadPoolExecutor(lanes)

    def judge(self, case: Case) -> Future[Verdict]:
        return self._threads.submit(self._judge, case)

    def _judge(self, case: Case) -> Verdict:
        lane = self._free.get()
        try:
            return lane.judge(case)
        finally:
            self._free.put(lane)

    def close(self) -> None:
        self._threads.shutdown(cancel_futures=True)
        for lane in self._lanes:
            lane.close()


def job_for(case: Case, folder: Path, run: str, store: Path | None) -> dict[str, object]:
    side = int(run != "first")
    recorded = case.truth_side == 0 and run != "second"  # elsewhere the recorded code is played from its source
    return {
        "folder": str(folder),
        "root": "" if store is None else str(store.parent),
        "run": run,
        "entry": case.header("entry", 0 if recorded else side, "workflow"),
        "how": case.header("how", 0 if recorded else side, "import"),
        "args": case.header("args", side, ""),
        "store": None if store is None else str(store),
    }


def write_project(case: Case, side: int, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    times = {path: path.stat() for path in folder.rglob("*.*")}
    for file in case.files:
        written = file.after if side else file.before
        if written is not None:
            path = folder / written[0]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(written[1], encoding="utf-8")
            if path in times:
                os.utime(path, ns=(times[path].st_atime_ns, times[path].st_mtime_ns))
    for dist in case.header("dist", side, "").split(", "):
        if dist:
            write_distribution(folder / "site-packages", *dist.split())


def write_distribution(site: Path, name: str, version: str) -> None:
    """What pip leaves beside the installed files; a case may have some of it written out."""
    marker = site / f"{name}-{version}.dist-info"
    marker.mkdir(parents=True, exist_ok=True)
    files = sorted(str(path.relative_to(site)) for path in site.rglob("*.py"))
    (marker / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (marker / "INSTALLER").write_text("pip\n")
    if not (marker / "RECORD").exists():
        (marker / "RECORD").write_text("".join(f"{path},,\n" for path in [*files, f"{marker.name}/METADATA"]))
    tops = {path.split("/")[0].removesuffix(".py") for path in files}
    (marker / "top_level.txt").write_text("".join(f"{top}\n" for top in sorted(tops)))


# --- judging


def verdict_on_case(case: Case, first: Mapping[str, Any], truth: Mapping[str, Any]) -> tuple[str, str]:
    """Is the case itself sound? What runs should give another value, what does not must give the same."""
    if case.fails:
        return "fine", ""
    if "error" in truth or ("error" in first) != (case.headers.get("first") == "fails"):
        return "corpus", f"first: {first}\nsecond: {truth}"
    changed = "error" in first or first["value"] != truth["value"]
    expected = case.headers.get("value", "changes" if case.runs else "same") == "changes"
    if changed != expected:
        return "corpus", f"before {first.get('value')}, after {truth['value']}"
    return "fine", ""


def verdict_on_run(
    case: Case, first: Mapping[str, Any], second: Mapping[str, Any], truth: Mapping[str, Any]
) -> tuple[str, str]:
    if case.fails:
        said = f"{first.get('error', '')}\n{second.get('error', '')}"
        missing = [word for word in case.fails.split() if word.lower() not in said.lower()]
        if missing:
            return "error", f"expected an error with {missing}, got {said.strip() or 'none'}"
        return "fine", ""
    for which, answer in (("first", first), ("second", second), ("plain", truth)):
        if "error" in answer and (which, case.headers.get("first")) != ("first", "fails"):
            return "error", f"{which} run: {answer.get('traceback', answer['error'])}"
    ran, runs = tuple(second["ran"]), case.runs
    told = f"ran {' '.join(ran) or 'nothing'}, expected {' '.join(runs) or 'nothing'}"
    if ran != runs and ran == case.allowed:
        return "allowed", f"{told}; {case.headers['allowed'].partition(' -- ')[2]}"
    if second["value"] != truth["value"]:
        return "stale", f"{told}; value {second['value']}, true value {truth['value']}"
    if Counter(runs) - Counter(ran):
        return "stale", told
    if ran != runs:
        return "wasted", told
    secretly = sorted(set(second["entered"]) & set(second["hit"]) - set(ran)) if not ran else []
    if secretly:
        return "wasted", f"reported as hits, yet their bodies were entered: {secretly}"
    return "fine", ""


def verdict_on_rerun(case: Case, kind: str, said: str, third: Mapping[str, Any]) -> tuple[str, str]:
    """Run once more unedited, elsewhere, under the first hash seed: all hits."""
    if "error" in third:
        return "error", f"third run: {third.get('traceback', third['error'])}"
    ran = tuple(third["ran"])
    if Counter(ran) - Counter(names_in(case.headers.get("again", ""))) and (kind, ran) != ("allowed", case.allowed):
        return "wasted", f"unedited, elsewhere, under another hash seed: ran {' '.join(ran) or 'nothing'}"
    return kind, said


# --- as a script


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder in memory where there is one: 3000 fresh stores wait for a disk longer than they compute."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 200_000_000
    with tempfile.TemporaryDirectory(dir=memory if roomy else None) as folder:
        yield Path(folder)


def table_of(verdicts: Sequence[Verdict]) -> str:
    kinds = ("fine", "allowed", "stale", "wasted", "error", "corpus")
    lines = [f"{'theme':<16}{'cases':>7}" + "".join(f"{kind:>9}" for kind in kinds)]
    for theme in [*sorted({verdict.case.theme for verdict in verdicts}), ""]:
        chosen = [verdict for verdict in verdicts if theme in ("", verdict.case.theme)]
        counts = Counter(verdict.kind for verdict in chosen)
        columns = "".join(f"{counts[kind]:>9}" for kind in kinds)
        lines.append(f"{theme or 'all':<16}{len(chosen):>7}{columns}")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--plain", action="store_true", help="no engine: are the cases sound?")
    parser.add_argument("-v", "--verbose", action="store_true", help="tell what is allowed, too")
    parser.add_argument("--executor", default="inline", help="inline, thread or process: where electrons run")
    parser.add_argument("parts", nargs="*", help="play the cases that have one of these in theme/id")
    options = parser.parse_args()
    os.environ["IDENTITY_EXECUTOR"] = options.executor
    parts = options.parts or [""]
    corpus = [case for case in read_corpus() if any(part in f"{case.id}" for part in parts)]
    verdicts = []
    start = time.perf_counter()
    with scratch() as folder, closing(Player(folder, plain=options.plain)) as player:
        for future in [player.judge(case) for case in corpus if not case.skip]:
            verdict = future.result()
            verdicts.append(verdict)
            if verdict.kind not in (("fine",) if options.verbose else ("fine", "allowed")):
                print(verdict, flush=True)
    for case in corpus:
        if case.skip:
            print(f"skipped: {case.id}, {case.skip}")
    print(table_of(verdicts))
    print(f"{time.perf_counter() - start:.1f} s")
    return int(any(verdict.kind not in ("fine", "allowed") for verdict in verdicts))


if __name__ == "__main__":
    sys.exit(main())
