"""The versions of packages here, and the fingerprint with them: what a node's key takes from the machine it runs on."""

# ruff: noqa: PTH112, PTH119, PTH118, PTH123 - as texts

from __future__ import annotations

import functools
import importlib.util
import os
import platform
import re
import sys
from collections.abc import Iterator, Mapping, Sequence

from cas_engine.fingerprint.versions import installed_version
from cas_engine.values import content_of
from cas_store.digest import digest_of

MISSING = "missing"


FILE = "file:"  # begins the name of a file that code depends on: like a package, it counts as found where a node runs
VARIABLE = "env:"  # begins that of an environment variable
UNSET = "unset"

# What says where and for whom something runs, not what is computed.
_SURROUNDINGS = frozenset(
    {"HOME", "USER", "USERNAME", "USERPROFILE", "LOGNAME", "SHELL", "TERM", "COLUMNS", "LINES", "DISPLAY"}
    | {"PATH", "PYTHONPATH", "PYTHONHASHSEED", "PWD", "OLDPWD", "TMPDIR", "TEMP", "TMP", "HOST", "HOSTNAME"}
)
_OF_MACHINES = (
    "SLURM_",
    "PBS_",
    "SGE_",
    "LSB_",
    "OMP_",
    "MKL_",
    "OPENBLAS_",
    "NUMEXPR_",
    "CUDA_VISIBLE",
    "XDG_",
    "SSH_",
)
_CREDENTIALS = re.compile(r"(?:^|_)(?:TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS|(?:API|ACCESS|SECRET)_KEY)(?:_|$)")


def is_elsewhere(variable: str) -> bool:
    """Whether a variable says where and for whom something runs."""
    return variable in _SURROUNDINGS or variable.startswith(_OF_MACHINES) or _CREDENTIALS.search(variable) is not None


def earlier_name(package: str, known: Sequence[str]) -> str:
    """What `known` calls a package: a file that isn't among them is the only one of its name in another folder."""
    if package in known or not package.startswith(FILE):
        return package
    name = os.path.basename(package)
    alike = [each for each in known if each.startswith(FILE) and os.path.basename(each) == name]
    return alike[0] if len(alike) == 1 else package


def version_of(package: str) -> str:
    """The version of a distribution as installed here; of a package without metadata, and of a file, its content.

    Of an environment variable a digest of what it is set to. "python" is the interpreter; "missing" what isn't here.
    """
    if package.startswith(VARIABLE):
        value = _value_of(package[len(VARIABLE) :])
        return UNSET if value is None else f"set:{digest_of(value.encode('utf-8', 'surrogateescape')).hex()}"
    return _file_version(package[len(FILE) :]) if package.startswith(FILE) else _version_of(package)


def _value_of(variable: str) -> str | None:
    """What it is set to; of a name with a star all that begin or end so, with what each is set to."""
    if "*" not in variable:
        return os.environ.get(variable)
    begin, _, end = variable.partition("*")
    alike = [name for name in os.environ if name.startswith(begin) and name.endswith(end) and not is_elsewhere(name)]
    return repr([(name, os.environ.get(name)) for name in sorted(alike)]) if alike else None


def _file_version(path: str) -> str:
    digest = content_of(path)
    if digest is None:
        try:
            digest = digest_of_tree(path)
        except OSError:
            return MISSING
    return f"content:{digest.hex()}"


@functools.cache
def _version_of(package: str) -> str:
    if package == "python":
        return platform.python_version()
    return installed_version(package) or _content_version(package)


def effective(code: bytes, packages: Sequence[str]) -> bytes:
    """The fingerprint that goes into keys: the code, and the versions found here of the packages that it reaches."""
    return _effective(code, tuple((package, version_of(package)) for package in packages))


def effective_with(code: bytes, packages: Sequence[str], versions: Mapping[str, str]) -> bytes:
    """The same where the packages have these versions; those not named, as here."""
    return _effective(code, tuple((package, versions.get(package) or version_of(package)) for package in packages))


@functools.lru_cache(maxsize=1 << 16)
def _effective(code: bytes, versions: tuple[tuple[str, str], ...]) -> bytes:
    # Lengths first: ("ab", "c") and ("a", "bc") must differ.
    parts = [code]
    for text in (text for name, version in versions if not name.startswith(FILE) for text in (name, version)):
        encoded = text.encode("utf-8", "surrogatepass")
        parts += (len(encoded).to_bytes(4, "little"), encoded)
    # Files by content, in the order of their names, which say which is which: where they lie does not matter.
    parts += [version.encode("utf-8", "surrogatepass") for name, version in sorted(versions) if name.startswith(FILE)]
    return digest_of(b"".join(parts))


def digest_of_tree(path: str) -> bytes:
    """The content of a file, or of all files in a folder with their names in it; raises OSError."""
    if not os.path.isdir(path):
        with open(path, "rb") as file:
            return digest_of(file.read())
    return digest_of(
        b"".join(
            part
            for name, full in _files(path)
            for part in (digest_of(name.encode("utf-8", "surrogateescape")), digest_of_tree(full))
        )
    )


def _content_version(package: str) -> str:
    path = _place(package)
    try:
        return f"content:{digest_of_tree(path).hex()}" if path else MISSING
    except OSError:
        return MISSING


def _place(package: str) -> str | None:
    module = sys.modules.get(package)
    try:
        spec = module.__spec__ if module is not None else importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return getattr(module, "__file__", None)
    folders = list(spec.submodule_search_locations or ())
    return str(folders[0]) if folders else spec.origin


def _files(folder: str) -> Iterator[tuple[str, str]]:
    for where, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        for name in sorted(names):
            if not name.endswith((".pyc", ".pyo")):
                full = os.path.join(where, name)
                yield os.path.relpath(full, folder).replace(os.sep, "/"), full


@functools.cache
def analysis() -> str:
    """What makes the fingerprints here: another version of it may find another thing. The digest of its own text.

    "" where that is not at hand. Read once: it takes a millisecond.
    """
    here = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120
    texts: list[bytes] = []
    try:
        for folder in (here, f"{here}{os.sep}..{os.sep}values"):
            for name in sorted(os.listdir(folder)):  # noqa: PTH208
                if name.endswith(".py"):
                    with open(f"{folder}{os.sep}{name}", "rb") as file:
                        texts.append(file.read())
    except OSError:
        return ""
    return digest_of(*texts).hex() if texts else ""
