"""Environment variables that code reads by name: they count as found where the node runs, like a package's version."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator

from cas_engine.fingerprint.environment import VARIABLE
from cas_engine.fingerprint.graph import Node
from cas_engine.fingerprint.reach import Reach, says

READERS = frozenset({"environ", "environb", "getenv", "getenvb"})  # of the module os
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")

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


class Variable:
    """One of them, by its name."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


def describe_variable(node: Node, _reach: Reach) -> None:
    """By name; what it is set to is found where the node runs."""
    name = node.obj.name
    node.name = name
    node.packages = frozenset({VARIABLE + name})
    says(node, "variable", name)


def variables_named(texts: Iterable[str]) -> Iterator[str]:
    """Which of these texts may name one that counts: in capitals, or set now."""
    for text in sorted(text for text in texts if text.isascii()):  # half of a surrogate cannot even be asked for
        if (text.isupper() or text in os.environ) and _NAME.fullmatch(text) and not _is_elsewhere(text):
            yield text


def _is_elsewhere(name: str) -> bool:
    return name in _SURROUNDINGS or name.startswith(_OF_MACHINES) or _CREDENTIALS.search(name) is not None
