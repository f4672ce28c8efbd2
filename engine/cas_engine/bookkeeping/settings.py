"""What a user has set once for all: environment variables, then the config file.

The file is INI, in the platform's folder for configuration (CAS_RUN_CONFIG names another):

    [cas-run]
    store = ~/results
    server = https://runs.example.org
    audit = 1%
    verify = boot
    compress = zstd
    max-size = 20GB
    executor = process
    workers = 8
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from cas_engine.errors import BadOption, NoHome
from cas_store.layout import expanded

NAMES = ("store", "server", "audit", "verify", "compress", "max-size", "executor", "workers")
_SECTION = "cas-run"


def setting(name: str) -> str | None:
    """CAS_RUN_<NAME>, else what the config file says, else None. Raises BadOption for a file that cannot be read."""
    return _said.get(name) or os.environ.get(_variable(name)) or _in_file().get(name) or _presets.get(name)


def say(name: str, value: str) -> None:
    """For this process, whatever is set elsewhere: the option of a command."""
    _said[name] = value


def preset(name: str, value: str) -> None:
    """For this process, where the user has set nothing: what the program in charge takes for the best."""
    _presets[name] = value


_said: dict[str, str] = {}
_presets: dict[str, str] = {}


def _variable(name: str) -> str:
    return f"CAS_RUN_{name.upper().replace('-', '_')}"


def number(name: str) -> int | None:
    """A setting that is a whole number from 1, None where nothing is set. Raises BadOption."""
    said = setting(name)
    if said is None:
        return None
    if not said.strip().isdecimal() or int(said) < 1:
        raise BadOption(f"{as_set(name, said)} is no number from 1\n  -> give a whole number")
    return int(said)


def choice(name: str, choices: Sequence[str]) -> str:
    """A setting that is one of these, the first where nothing is set. Raises BadOption."""
    chosen = (setting(name) or choices[0]).strip().lower()
    if chosen not in choices:
        known = ", ".join(f"`{each}`" for each in choices)
        raise BadOption(f"{as_set(name, chosen)} is not known\n  -> one of {known}")
    return chosen


def as_set(name: str, said: str) -> str:
    """For an error: the setting, and where it may come from."""
    try:
        file = str(config_path())
    except NoHome:
        file = "CAS_RUN_CONFIG"
    return f"`{name} = {said}` ({_variable(name)} or {file})"


def config_path() -> Path:
    """Where the config file is looked for: the XDG base directories, Application Support, AppData.

    Raises NoHome.
    """
    named = os.environ.get("CAS_RUN_CONFIG")
    if named:
        return expanded(named)
    if sys.platform == "win32":
        return Path(os.environ.get("APPDATA") or home_folder() / "AppData" / "Roaming") / "cas-run" / "config.ini"
    if sys.platform == "darwin":
        return home_folder() / "Library" / "Application Support" / "cas-run" / "config.ini"
    home = os.environ.get("XDG_CONFIG_HOME", "")
    # The specification says that relative paths are to be ignored.
    return (Path(home) if Path(home).is_absolute() else home_folder() / ".config") / "cas-run" / "config.ini"


def home_folder() -> Path:
    """The user's home folder. Raises NoHome: a container or a service may run as a user that has none."""
    try:
        return Path.home()
    except RuntimeError:
        raise NoHome(
            "this user has no home folder, and HOME is not set\n"
            "  -> set HOME; or name what is to be used: CAS_RUN_STORE (--store), CAS_RUN_CONFIG, --token-file"
        ) from None


def _in_file() -> Mapping[str, str]:
    try:
        path = config_path()
    except NoHome:
        return {}  # where there is no home, there is no file in it
    return _read(path)


def _read(path: Path) -> Mapping[str, str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):  # HOME=/dev/null is a way to say that there is none
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from None
    return _parsed(text, path) if text else {}


@lru_cache(maxsize=4)
def _parsed(text: str, path: Path) -> Mapping[str, str]:
    """A dispatch asks for eight settings, and a parser takes ten times as long as the file."""
    import configparser

    parser = configparser.ConfigParser(interpolation=None, inline_comment_prefixes=("#", ";"))
    try:
        parser.read_string(text, str(path))
        found = {name: _unquoted(text) for name, text in parser[_SECTION].items()} if _SECTION in parser else {}
    except configparser.Error as error:
        raise _unreadable(path, error) from None
    others = [f"[{name}]" for name in parser.sections() if name != _SECTION]
    if others and not found:
        # Most likely meant for us, and what it says of the store would be for nothing.
        raise BadOption(f"the config file {path} has {others[0]} and no [{_SECTION}]\n  -> it is to be [{_SECTION}]")
    unknown = sorted(set(found) - set(NAMES))
    if unknown:
        known = ", ".join(f"`{name}`" for name in NAMES)
        raise BadOption(f"the config file {path} sets `{unknown[0]}`, which is not known\n  -> it may set {known}")
    return found


def _unquoted(text: str) -> str:
    """Without the quotes that other formats want around a text."""
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text


def _unreadable(path: Path, error: Exception) -> BadOption:
    reason = str(error).replace("\n", " ")
    return BadOption(f"the config file {path} cannot be read: {reason}\n  -> mend it, or remove it")
