"""A client of `cas-run serve` that needs nothing but Python 3.8 or newer, and nothing of cas-run but this one file.

    from client import Client          # copied beside the program; or: from cas_run.client import Client

    answer = Client("https://runs.example.org", token).redispatch(dispatch_id, inputs={"C": 1.5}).wait().result()

Each redispatch has a key that is made once for the call: whatever is sent again, after a lost connection or to a server
that had too much to do, runs once. `AsyncClient` is the same with `await`, `python client.py --help` from a shell.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import importlib
import json
import math
import os
import re
import socket
import ssl
import sys
import time
from pathlib import Path
from typing import (
    IO,
    TYPE_CHECKING,
    Any,
    AsyncIterator,
    Callable,
    Dict,
    Iterator,
    Mapping,
    NamedTuple,
    Sequence,
    TypeVar,
)
from urllib.parse import quote, urlencode, urlsplit

if TYPE_CHECKING:
    from urllib.parse import SplitResult

    from typing_extensions import Self

__all__ = [
    "AsyncClient",
    "AsyncDispatch",
    "Busy",
    "Client",
    "ClientError",
    "Dispatch",
    "DispatchFailed",
    "Event",
    "Events",
    "NoResult",
    "NotAllowed",
    "NotFound",
    "NotJson",
    "Refused",
    "ServerFault",
    "StillRunning",
    "Unreachable",
    "Upload",
]

Json = Dict[str, Any]
T = TypeVar("T")

AGENT = "cas-run-client/1"
OVER = frozenset({"COMPLETED", "FAILED", "CANCELLED", "INTERRUPTED"})
LONGEST_WAIT_S = 60.0  # that the server takes
WAIT_S = 25.0  # for one long poll: proxies give up on a silent connection after 30 to 60 s
PAUSE_S, LONGEST_PAUSE_S = 0.2, 10.0  # before the first retry, doubled each time; at most
LONGEST_ASKED_S = 60.0  # what a Retry-After may make us wait
IDLE_S = 20.0  # an unused connection is not trusted for longer: what lies between may have forgotten it silently
SILENCE_S = 45.0  # the server sends a comment every 15 s: a stream that says nothing for so long is dead
PAGE_NODES, PAGE_DISPATCHES = 10_000, 500
BLOCK = 1 << 16
MEDIA_TYPES = {
    ".npy": "application/x-npy",
    ".arrow": "application/vnd.apache.arrow.file",
    ".feather": "application/vnd.apache.arrow.file",
    ".arrows": "application/vnd.apache.arrow.stream",
    ".parquet": "application/vnd.apache.parquet",
}
CODE = "application/vnd.cas-run.capsule"
_AGAIN = frozenset({408, 429, 502, 503, 504})
_MEANT = frozenset({"$blob", "$literal"})  # an object with one of these as its only key means something to the server
_LOST = (OSError, http.client.HTTPException)
_POLL_S = 1.0
_LATE_S = 10.0  # after a piece, one that was printed so long before may still come
_LAST = re.compile(r"@last(?:~(\d{1,6}))?")
_LOOPBACK = re.compile(r"localhost|::1|127(\.\d{1,3}){3}")


# What can go wrong ------------------------------------------------------------------------------------------------


class ClientError(Exception):
    """The root. `message` says what happened, `advice` (or "") what to do; `kind` is the server's name for it.

    `status` is that of the HTTP answer, None if there was none. `fields` are (name, message) of what is wrong in what
    was sent: ("inputs.C", "`abc` is not a number"); `field` is the first of these names, or None.
    """

    def __init__(
        self,
        message: str,
        advice: str = "",
        *,
        kind: str = "",
        status: int | None = None,
        fields: Sequence[Sequence[str]] = (),
    ) -> None:
        super().__init__(message, advice)
        self.message, self.advice, self.status = message, advice, status
        self.kind = kind or type(self).__name__
        self.fields = tuple((name, text) for name, text in fields)

    @property
    def field(self) -> str | None:
        return self.fields[0][0] if self.fields else None

    def __reduce__(self) -> Any:
        return _revived, (type(self), self.__dict__)

    def __str__(self) -> str:
        return f"{self.message}\n  -> {self.advice}" if self.advice else self.message


def _revived(cls: type[ClientError], attributes: Json) -> ClientError:
    error = cls.__new__(cls, attributes["message"], attributes["advice"])
    error.__dict__.update(attributes)
    return error


class Unreachable(ClientError):
    """No answer, also not after the retries. Whatever was sent may or may not have arrived."""


class Busy(Unreachable):
    """The server, or what stands before it, could not take it, nor after the retries: 408, 429, 502, 503, 504."""


class ServerFault(ClientError):
    """A fault of the server, or an answer that no cas-run server gives."""


class NotAllowed(ClientError):
    """No token, or one that may not do this (401, 403, 421)."""


class NotFound(ClientError):
    """There is no such dispatch, node or lattice."""


class Refused(ClientError):
    """What was asked can't be done as asked; nothing has run."""


class NoResult(ClientError):
    """There is no result: evicted, or as the classes below say. `dispatch_status` is that of the dispatch or node."""

    dispatch_status = ""


class DispatchFailed(NoResult):
    """The dispatch or node failed, was skipped, cancelled or interrupted; the message has the traceback."""


class StillRunning(NoResult, TimeoutError):
    """It is not over yet."""


class NotJson(ClientError):
    """The result is not one that JSON holds. `type` and `preview` tell of it; `download` has its bytes."""

    type = preview = ""


_CLASSES: dict[int, type[ClientError]] = {401: NotAllowed, 403: NotAllowed, 421: NotAllowed, 404: NotFound}
_CLASSES.update(dict.fromkeys(_AGAIN, Busy))


def _error_of(status: int, reason: str, content: bytes, where: str) -> ClientError:
    """What an answer that is none says. What stands before a server answers in its own words: those are not ours."""
    try:
        told = json.loads(content)["error"]
        message, advice, kind = told["message"], told.get("advice") or "", told.get("kind", "")
        fields = [(one["name"], one["message"]) for one in told.get("fields") or ()]
    except (ValueError, TypeError, KeyError):
        told, advice, kind, fields = {}, "", "", []
        message = f"{where} answers {status} {reason}".rstrip()
    cls = _CLASSES.get(status, ServerFault if status >= 500 or status < 400 else Refused)
    if 300 <= status < 400:
        advice = "redirects are not followed: give the address that it leads to"
    state = str(told.get("status") or told.get("state") or "")
    if kind == "NoResult":
        cls = DispatchFailed if state.upper() not in ("RUNNING", "PENDING", "") else StillRunning
    elif status == 410:
        cls = NoResult
    error = cls(message, advice, kind=kind, status=status, fields=fields)
    if isinstance(error, NoResult):
        error.dispatch_status = state
    return error


# What can be sent -------------------------------------------------------------------------------------------------


class Upload:
    """Bytes of an array or a frame, as the value of an input or anywhere inside one.

    `data` are the bytes, or the path of a file that holds them; its ending then tells the media type: .npy, .arrow,
    .feather, .arrows (a stream), .parquet.
    """

    def __init__(self, data: bytes | os.PathLike[str], media_type: str = "") -> None:
        self.data = data
        self.media_type = media_type
        if not media_type:
            ending = Path(data).suffix.lower() if isinstance(data, os.PathLike) else ""
            if ending not in MEDIA_TYPES:
                known = ", ".join(sorted(set(MEDIA_TYPES.values())))
                raise Refused("an upload has no media type", f"give one of {known}")
            self.media_type = MEDIA_TYPES[ending]

    def opened(self) -> bytes | IO[bytes]:
        return Path(self.data).open("rb") if isinstance(self.data, os.PathLike) else self.data

    def __len__(self) -> int:
        return Path(self.data).stat().st_size if isinstance(self.data, os.PathLike) else len(self.data)


Sent = Callable[[Upload], Json]  # uploads it, and gives what stands for it


def _as_json(value: object, where: str, sent: Sent | None) -> Any:
    """As JSON, uploads in the place of arrays and frames. What JSON would change without a word is refused."""
    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise _unsendable(where, f"{value}, for which JSON has no number", f'give it as a text: "{value}"')
        return float(value)
    if isinstance(value, (list, tuple)):
        return [_as_json(item, f"{where}[{i}]", sent) for i, item in enumerate(value)]
    if isinstance(value, Mapping):
        if sent is not None and len(value) == 1 and _MEANT & set(value):
            return {"$literal": _as_json(value, where, None)}
        plain = {}
        for key, item in value.items():
            if not isinstance(key, str):
                raise _unsendable(where, f"a dict with the key {key!r}, and JSON has texts only", "use texts")
            plain[key] = _as_json(item, f"{where}[{json.dumps(key)}]", sent)
        return plain
    if sent is None:
        raise _unsendable(where, f"of type {type(value).__qualname__}, below a key that is the server's", "rename that")
    return sent(value) if isinstance(value, Upload) else _of_library(value, where, sent)


def _of_library(value: Any, where: str, sent: Sent) -> Any:
    """Values of libraries that are there if such values are."""
    library = type(value).__module__.split(".")[0]
    try:
        if library == "numpy" and hasattr(value, "dtype"):
            if value.shape == () and hasattr(value, "item"):
                return _as_json(value.item(), where, sent)
            return sent(_array(value))
        if library in ("pandas", "polars", "pyarrow") and type(value).__name__ in ("DataFrame", "Table"):
            return sent(_frame(value, library))
    except ImportError as error:
        raise _unsendable(where, f"a frame, and {error}", "install pyarrow, or give an Upload") from None
    except (ValueError, TypeError, NotImplementedError) as error:
        raise _unsendable(where, f"a {type(value).__qualname__} that can't be uploaded: {error}", "") from None
    advice = "give what JSON has, an array, a frame or an Upload; or let the workflow make it from such"
    if isinstance(value, os.PathLike):
        advice = "a path of the server's machine is given as a text"
    raise _unsendable(where, f"of type {type(value).__qualname__}, which can't be sent", advice)


def _array(value: Any) -> Upload:
    import io

    file = io.BytesIO()
    sys.modules["numpy"].save(file, value, allow_pickle=False)
    return Upload(file.getvalue(), MEDIA_TYPES[".npy"])


def _frame(value: Any, library: str) -> Upload:
    if library == "polars":
        import io

        file = io.BytesIO()
        value.write_ipc_stream(file)
        return Upload(file.getvalue(), MEDIA_TYPES[".arrows"])
    pa = importlib.import_module("pyarrow")
    table = pa.Table.from_pandas(value) if library == "pandas" else value
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return Upload(sink.getvalue().to_pybytes(), MEDIA_TYPES[".arrows"])


def _unsendable(where: str, what: str, advice: str) -> Refused:
    name = re.split(r"[\[.]", where)[0]
    return Refused(f"input `{where}` is {what}", advice, kind="InputError", fields=[(f"inputs.{name}", what)])


# HTTP -------------------------------------------------------------------------------------------------------------


class _Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    content: bytes

    def json(self, where: str) -> Json:
        try:
            found = json.loads(self.content)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise ServerFault(f"{where} does not answer as cas-run does", "is this the address of a `cas-run serve`?")
        return found


class _Http:
    """One server, over connections that are kept and used again. Any number of threads may use it."""

    def __init__(
        self,
        url: str,
        token: str | None,
        timeout: float,
        retries: int,
        patience: float,
        context: ssl.SSLContext | None,
    ) -> None:
        self._idle: list[tuple[http.client.HTTPConnection, float]] = []  # with the time when it was put there
        parts = _parts(url)
        self.url = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
        self.host, self.tls = parts.hostname or "", parts.scheme == "https"
        self.port, self.prefix = parts.port or (443 if self.tls else 80), parts.path.rstrip("/")
        self.is_loopback = _LOOPBACK.fullmatch(self.host) is not None
        self.timeout, self.retries, self.patience = timeout, retries, patience
        self._given = _clean(token or os.environ.get("CAS_RUN_TOKEN", ""))
        self._context = context
        self._proxy = None if self.is_loopback else _proxy_for(parts)  # a token of this machine is for no proxy
        self._pid = os.getpid()

    @property
    def token(self) -> str:
        """The one given, else that of the environment, else, for a server on this machine, the one it wrote there."""
        return self._given or (_local_token() if self.is_loopback else "")

    def send(
        self,
        method: str,
        path: str,
        query: Mapping[str, object] | None = None,
        body: Json | Upload | None = None,
        *,
        held: float = 0.0,
        into: IO[bytes] | None = None,
    ) -> _Answer:
        """The answer, if it is a good one. Sent again after a lost connection, and when the server asks for that.

        held  seconds for which the server was asked to hold the answer back
        into  where the content of a good answer goes, instead of the answer
        """
        target = _target(self.prefix + path, query)
        failures = 0
        while True:
            pause = 0.0
            try:
                answer = self._once(method, target, body, self.timeout + held, into)
            except _LOST as error:
                problem: ClientError = self.unreachable(error)
                if isinstance(error, ssl.SSLCertVerificationError):
                    raise problem from None
            else:
                if 200 <= answer.status < 300:
                    return answer
                reason = http.client.responses.get(answer.status, "")
                problem = _error_of(answer.status, reason, answer.content, self.url)
                if answer.status == 401 and not problem.advice:
                    problem.advice = "give a token: Client(url, token), CAS_RUN_TOKEN, `cas-run token new`"
                if answer.status not in _AGAIN:
                    raise problem
                pause = _asked_pause(answer.headers.get("Retry-After", ""))
            if failures >= self.retries:
                raise problem
            time.sleep(max(pause, pause_before(failures)))
            failures += 1

    def unreachable(self, error: BaseException) -> Unreachable:
        if isinstance(error, ssl.SSLCertVerificationError):
            return Unreachable(f"{self.url} has a certificate that is not trusted: {error.verify_message}")
        why = str(error) or type(error).__name__
        return Unreachable(f"{self.url} can't be reached: {why}", "is the server running, and is this its address?")

    def _once(
        self, method: str, target: str, body: Json | Upload | None, timeout: float, into: IO[bytes] | None
    ) -> _Answer:
        connection, used = self._taken(timeout)
        try:
            response = self.asked(connection, method, target, body)
            good = 200 <= response.status < 300
            content = _copied(response, into) if into is not None and good else response.read()
        except BaseException as error:
            connection.close()
            if used and isinstance(error, _LOST) and not isinstance(error, socket.timeout):
                # It was closed while nobody used it, and so were the others: that says nothing about the server.
                self.close()
                return self._once(method, target, body, timeout, into)
            raise
        if response.will_close:
            connection.close()
        else:
            self._idle.append((connection, time.time()))
        return _Answer(response.status, response.headers, content)

    def asked(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        target: str,
        body: Json | Upload | None = None,
        extra: Mapping[str, str] | None = None,
    ) -> http.client.HTTPResponse:
        """One request over one connection, up to the headers of its answer."""
        headers = {"Accept": "application/json", "User-Agent": AGENT, **(extra or {})}
        token = self.token
        if token:
            headers["Authorization"] = f"Bearer {token}"
        content: bytes | IO[bytes] | None = None
        if isinstance(body, Upload):
            headers["Content-Type"], headers["Content-Length"] = body.media_type, str(len(body))
            content = body.opened()
        elif method != "GET":
            headers["Content-Type"] = "application/json"
            content = json.dumps(body or {}, allow_nan=False).encode()
        if self._proxy is not None and not self.tls:
            target = f"http://{self.host if ':' not in self.host else f'[{self.host}]'}:{self.port}{target}"
            headers.update(_proxy_headers(self._proxy))
        try:
            connection.request(method, target, body=content, headers=headers)
        except (BrokenPipeError, ConnectionResetError):
            # A server that does not want the body may have said why before it hung up.
            if connection.sock is None:
                raise
        finally:
            if content is not None and not isinstance(content, bytes):
                content.close()
        return connection.getresponse()

    def connection(self, timeout: float) -> http.client.HTTPConnection:
        """A new one."""
        via = self._proxy
        host, port = (self.host, self.port) if via is None else (via.hostname or "", via.port or 80)
        if not self.tls:
            return http.client.HTTPConnection(host, port, timeout=timeout)
        if self._context is None:  # it reads all certificates that are trusted: once is enough
            self._context = ssl.create_default_context()
        made = http.client.HTTPSConnection(host, port, timeout=timeout, context=self._context)
        if via is not None:
            made.set_tunnel(self.host, self.port, _proxy_headers(via))
        return made

    def _taken(self, timeout: float) -> tuple[http.client.HTTPConnection, bool]:
        if self._pid != os.getpid():  # forked: the parent goes on with these
            self._idle, self._pid = [], os.getpid()
        try:
            connection, since = self._idle.pop()
        except IndexError:
            return self.connection(timeout), False
        # By the clock on the wall: a function that was frozen in between has not heard the other one tick.
        if not 0 <= time.time() - since < IDLE_S:
            connection.close()
            return self.connection(timeout), False
        connection.timeout = timeout
        if connection.sock is not None:
            connection.sock.settimeout(timeout)
        return connection, connection.sock is not None

    def close(self) -> None:
        while self._idle:
            self._idle.pop()[0].close()

    __del__ = close


def _copied(response: http.client.HTTPResponse, into: IO[bytes]) -> bytes:
    """All of the content, in the place of what an earlier try has left."""
    into.seek(0)
    into.truncate()
    for block in iter(functools.partial(response.read, BLOCK), b""):
        into.write(block)
    if response.length:  # read in pieces it does not tell of itself that there should have been more
        raise http.client.IncompleteRead(b"", response.length)
    return b""


def pause_before(failures: int) -> float:
    """Seconds before the next try, after so many: doubled each time, and spread so that clients don't come in step."""
    chance = int.from_bytes(os.urandom(2), "big") / 65536
    return float(min(LONGEST_PAUSE_S, PAUSE_S * 2**failures) * (0.5 + chance / 2))


def _asked_pause(text: str) -> float:
    if text.strip().isdigit():
        return min(float(text), LONGEST_ASKED_S)
    from email.utils import parsedate_to_datetime

    try:
        return max(0.0, min(parsedate_to_datetime(text).timestamp() - time.time(), LONGEST_ASKED_S))
    except (TypeError, ValueError, IndexError):
        return 0.0


def _parts(url: str) -> SplitResult:
    example = "for instance http://127.0.0.1:8227"
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        right = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
        right = right and not any(letter.isspace() for letter in url)
    except ValueError:
        right = False
    if not right:
        raise Refused(f"`{url}` is not the address of a server", example, kind="BadOption")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise Refused(f"`{parts.hostname}`: an address has no password, query or fragment", example, kind="BadOption")
    return parts


def _clean(token: str) -> str:
    token = token.strip()
    if not all("!" <= letter <= "~" for letter in token):
        raise Refused("the token has characters that no token has", "is all of it the token?", kind="BadOption")
    return token


def _local_token() -> str:
    """What `cas-run serve` writes for this user, beside the config file of cas-run."""
    named, appdata, xdg = (os.environ.get(name, "") for name in ("CAS_RUN_CONFIG", "APPDATA", "XDG_CONFIG_HOME"))
    try:
        if named:
            folder = Path(named).expanduser().parent
        elif sys.platform == "win32":
            folder = Path(appdata or Path.home() / "AppData" / "Roaming") / "cas-run"
        elif sys.platform == "darwin":
            folder = Path.home() / "Library" / "Application Support" / "cas-run"
        else:
            folder = (Path(xdg) if Path(xdg).is_absolute() else Path.home() / ".config") / "cas-run"
        return _clean((folder / "tokens.local").read_text(encoding="ascii").partition("\n")[0])
    except (OSError, ValueError, RuntimeError):  # RuntimeError: there is no home
        return ""


def _proxy_for(parts: SplitResult) -> SplitResult | None:
    if sys.platform not in ("win32", "darwin") and not any(n.lower().endswith("_proxy") for n in os.environ):
        return None
    from urllib.request import getproxies, proxy_bypass

    found = getproxies().get(parts.scheme)
    if not found or proxy_bypass(parts.hostname or ""):
        return None
    return urlsplit(found if "://" in found else f"http://{found}")


def _proxy_headers(proxy: SplitResult) -> dict[str, str]:
    if not proxy.username:
        return {}
    from base64 import b64encode
    from urllib.parse import unquote

    known = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"Proxy-Authorization": "Basic " + b64encode(known.encode()).decode()}


def _target(path: str, query: Mapping[str, object] | None) -> str:
    kept = {name: value for name, value in (query or {}).items() if value is not None}
    return f"{path}?{urlencode(kept)}" if kept else path


# Events -----------------------------------------------------------------------------------------------------------


class Event(NamedTuple):
    """What has happened: `kind` is planned, started, node, finished or lost; `data` is as docs/server.md has it."""

    kind: str
    data: Json
    id: str


class Events:
    """The events of a dispatch as they come, each once, to the end; over new connections where that is needed.

    An iterator that may be closed, also by another thread.
    """

    def __init__(self, server: _Http, path: str, last_event_id: str = "") -> None:
        self._server = server
        self._path = path
        self._connection: http.client.HTTPConnection | None = None
        self._closed = False
        self._events = self._all()
        self.last_id = last_event_id

    def __iter__(self) -> Events:
        return self

    def __next__(self) -> Event:
        return next(self._events)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """No more of them. A thread that waits for the next one gets StopIteration."""
        self._closed = True
        connection = self._connection
        if connection is not None and connection.sock is not None:
            with contextlib.suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)

    def _all(self) -> Iterator[Event]:
        told = set()  # a server that was started again tells all of it again
        failures, heard = 0, 0.0
        while not self._closed:
            pause = 0.0
            problem: ClientError
            try:
                for event in self._stream():
                    which = (event.kind, event.data.get("index"))
                    if which not in told or event.kind == "lost":
                        failures, heard = 0, time.monotonic()
                        told.add(which)
                        yield event
                    if event.kind == "finished":
                        return
                problem = Unreachable(f"{self._server.url} ended the stream of events before the dispatch was over")
            except _LOST as error:
                problem = self._server.unreachable(error)
            except Busy as error:
                problem, pause = error, getattr(error, "pause", 0.0)
            if self._closed:
                return
            if failures >= self._server.retries and not (heard and time.monotonic() - heard < self._server.patience):
                raise problem
            time.sleep(max(pause, pause_before(failures)))
            failures += 1

    def _stream(self) -> Iterator[Event]:
        connection = self._connection = self._server.connection(SILENCE_S)
        try:
            headers = {"Last-Event-ID": self.last_id} if self.last_id else {}
            headers.update({"Accept": "text/event-stream", "Cache-Control": "no-store"})
            response = self._server.asked(connection, "GET", self._server.prefix + self._path, extra=headers)
            if response.status != 200:
                reason = http.client.responses.get(response.status, "")
                error = _error_of(response.status, reason, response.read(), self._server.url)
                error.pause = _asked_pause(response.headers.get("Retry-After", ""))  # type: ignore[attr-defined]
                raise error
            for event in parsed_events(response):
                if event.id:
                    self.last_id = event.id
                yield event
        finally:
            connection.close()
            self._connection = None


def parsed_events(lines: Iterator[bytes] | IO[bytes]) -> Iterator[Event]:
    """Server-sent events, as the HTML standard has them. One that was cut off is none."""
    kind, last = "", ""
    data: list[str] = []
    for raw in lines:
        line = raw.decode("utf-8", "replace").rstrip("\r\n")
        name, _, value = line.partition(":")
        value = value[1:] if value.startswith(" ") else value
        if not line:
            if data and raw.endswith(b"\n"):
                try:
                    found = json.loads("\n".join(data))
                except ValueError:
                    found = None
                if isinstance(found, dict):
                    yield Event(kind or "message", found, last)
            kind, data = "", []
        elif name == "event":
            kind = value
        elif name == "data":
            data.append(value)
        elif name == "id" and "\0" not in value:
            last = value


# What users call --------------------------------------------------------------------------------------------------


class Client:
    """A server, as a caller sees it. May be used by many threads, and closed when it is no longer needed.

    url       of the server; else CAS_RUN_SERVER
    token     else CAS_RUN_TOKEN; else, for a server on this machine only, the one that it wrote for this user
    timeout   seconds for a connection, and between any two pieces of an answer
    retries   how often a request is sent again: after a lost connection, 408, 429, 502, 503, 504
    patience  seconds for which a wait or a stream of events outlasts a server that is away, as one that is restarted
    context   whom to trust, where that is not what the system says (`ssl.create_default_context(cafile=...)`)

    An id is that of a dispatch, any beginning of 4 digits or more that only one has, `@last` or `@last~1`.
    Proxies are those of the environment. Raises ClientError, everywhere.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        timeout: float = 60.0,
        retries: int = 5,
        patience: float = 60.0,
        context: ssl.SSLContext | None = None,
    ) -> None:
        url = url or os.environ.get("CAS_RUN_SERVER", "")
        if not url:
            raise Refused("there is no address of a server", "give one, or set CAS_RUN_SERVER", kind="BadOption")
        self._server = _Http(url, token, timeout, retries, patience, context)
        self.url, self.patience = self._server.url, patience

    def __repr__(self) -> str:
        return f"<client of {self.url}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give up the connections that are kept. It can be used on: there will be new ones."""
        self._server.close()

    # --- run ---

    def redispatch(
        self,
        dispatch_id: str,
        inputs: Mapping[str, Any] | None = None,
        *,
        replace_electrons: Mapping[str, str | Upload] | None = None,
        recompute: str | Sequence[str] | None = None,
        reuse_previous_results: bool = True,
        idempotency_key: str | None = None,
        wait: float = 0.0,
    ) -> Dispatch:
        """Run a recorded dispatch again; the new one. All else is as `cas_run.redispatch` has it.

        inputs             name to value: what JSON has, arrays and frames (where numpy, pyarrow are), Uploads. What is
                           not given keeps its value
        replace_electrons  name of an electron to the name or fingerprint of one that the server's store knows
        idempotency_key    calls with one key run once, however many processes make them; without it, this call does
        wait               seconds (up to 60) to wait for it here: spares requests where the work is short
        """
        body = self._edits(replace_electrons, recompute, reuse_previous_results)
        body["idempotency_key"] = idempotency_key or os.urandom(16).hex()
        found = self._post(dispatch_id, "redispatch", body, inputs, replace_electrons, wait)
        return Dispatch(self, found)

    def plan(
        self,
        dispatch_id: str,
        inputs: Mapping[str, Any] | None = None,
        *,
        replace_electrons: Mapping[str, str | Upload] | None = None,
        recompute: str | Sequence[str] | None = None,
        reuse_previous_results: bool = True,
    ) -> Json:
        """What such a redispatch would run, and why, as `cas-run plan --json` has it. Runs nothing."""
        body = self._edits(replace_electrons, recompute, reuse_previous_results)
        return self._post(dispatch_id, "plan", body, inputs, replace_electrons)

    def cancel(self, dispatch_id: str) -> bool:
        """Ask a dispatch to stop; False if it was over already."""
        return bool(self._post(dispatch_id, "cancel", {})["cancelled"])

    def upload(self, upload: Upload) -> str:
        """Send an upload now; the server keeps it for an hour, under this id. As an input it is `{"$blob": id}`."""
        path = "/api/v1/code" if upload.media_type == CODE else "/api/v1/blobs"
        return str(self._server.send("POST", path, body=upload).json(self.url)["id"])

    # --- look ---

    def get(self, dispatch_id: str, *, wait: float = 0.0, nodes: bool = True) -> Json:
        """All about one dispatch, as `cas-run show --json` has it, once it is over or `wait` seconds (up to 60) are."""
        path, wait = self._path(dispatch_id), min(wait, LONGEST_WAIT_S)
        query: Json = {"nodes_limit": PAGE_NODES if nodes else 0, "wait": f"{wait:g}" if wait else None}
        found = self._get(path, query, held=wait)
        further = found.pop("nodes_next", None) if nodes else None
        while further is not None:
            page = self._get(path, {"nodes_from": further, "nodes_limit": PAGE_NODES})
            found["nodes"] += page["nodes"]
            further = page.get("nodes_next")
        return found

    def dispatch(self, dispatch_id: str) -> Dispatch:
        """A dispatch to wait for, ask and redispatch."""
        return Dispatch(self, self.get(dispatch_id, nodes=False))

    def list(
        self, *, lattice: str | None = None, status: str | None = None, limit: int | None = None
    ) -> Iterator[Json]:
        """The dispatches, newest first, fetched as they are asked for."""
        cursor, left = None, limit
        while left is None or left > 0:
            size = PAGE_DISPATCHES if left is None else min(left, PAGE_DISPATCHES)
            query = {"lattice": lattice, "status": status, "limit": size, "cursor": cursor}
            page = self._get("/api/v1/dispatches", query)
            yield from page["dispatches"]
            left = None if left is None else left - len(page["dispatches"])
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def result(self, dispatch_id: str, node: str | None = None) -> Any:
        """The value of a dispatch, or of one of its nodes. Raises NotJson, StillRunning, DispatchFailed, NoResult."""
        return _value_of(self.answer(dispatch_id, node))

    def answer(self, dispatch_id: str, node: str | None = None) -> Json:
        """The same as the server tells it: `type`, `preview`, `size`, and `value` where JSON holds it."""
        return self._get(self._path(dispatch_id, "result"), {"node": node})

    def download(self, dispatch_id: str, node: str | None = None, to: IO[bytes] | str | None = None) -> bytes:
        """The bytes of a result as the store has them, which `cas_engine.capsules.codec` reads.

        to  a file or path that they go to, piece by piece, instead of being returned; what is at a path stays until
            all of them are there
        """
        path = self._path(dispatch_id, "result/bytes")
        if not isinstance(to, (str, os.PathLike)):
            return self._server.send("GET", path, {"node": node}, into=to).content
        target = Path(os.path.realpath(to))
        if target.exists() and not target.is_file():  # a pipe, or /dev/null: nothing is to take its place
            with target.open("wb") as pipe:
                pipe.write(self._server.send("GET", path, {"node": node}).content)
            return b""
        arriving = target.with_name(f".{target.name}.{os.urandom(6).hex()}"[-255:])
        try:
            with arriving.open("w+b") as file:
                found = self._server.send("GET", path, {"node": node}, into=file).content
            arriving.replace(target)
        except BaseException:
            with contextlib.suppress(OSError):
                arriving.unlink()
            raise
        return found

    def events(self, dispatch_id: str, *, last_event_id: str = "") -> Events:
        """What happens, node by node, from the beginning or after `last_event_id`, until it is over."""
        return Events(self._server, self._path(dispatch_id, "events"), last_event_id)

    def explain(self, dispatch_id: str, node: str | None = None) -> Json:
        """Why its nodes ran, or why `node` did, as `cas-run explain --json` has it."""
        return self._get(self._path(dispatch_id, "explain"), {"node": node})

    def diff(self, dispatch_id: str, other: str) -> Json:
        """Two dispatches side by side, as `cas-run diff --json` has it."""
        return self._get(self._path(dispatch_id, "diff/" + self._path(other).rpartition("/")[2]))

    def logs(self, dispatch_id: str, node: str | None = None, *, follow: bool = False) -> Iterator[Json]:
        """What its electrons printed and logged, piece by piece, in the order of time; of `node` alone if it is given.

        With `follow`, goes on until the dispatch is over.
        """
        path, since = self._path(dispatch_id, "logs"), 0.0
        told: set[tuple[Any, ...]] = set()
        while True:
            answer = self._get(path, {"node": node, "since": since})
            is_over, before = answer["status"] != "RUNNING", since
            for piece in list_of(answer, "printed"):
                since = max(since, piece["at"])
                name = (piece["at"], piece["node"], piece["attempt"], piece["stream"], piece["text"])
                if name not in told:
                    told.add(name)
                    yield piece
            if answer["more"]:
                # So many of one moment that they fill an answer: the rest of that moment cannot be asked for.
                since = since if since > before else since + 1e-6
                continue
            if is_over or not follow:
                return
            since = max(0.0, since - _LATE_S)
            told = {name for name in told if name[0] >= since}
            time.sleep(_POLL_S)

    def lattices(self) -> Sequence[Json]:
        """The lattices that have dispatches, with the newest of each."""
        return list_of(self._get("/api/v1/lattices"), "lattices")

    def inputs(self, lattice: str) -> Json:
        """JSON Schema of the inputs of a lattice."""
        schema: Json = self._get(f"/api/v1/lattices/{quote(lattice, safe='')}/inputs")["schema"]
        return schema

    def electrons(self, name: str | None = None) -> Sequence[Json]:
        """The electrons that may stand in for others."""
        return list_of(self._get("/api/v1/electrons", {"name": name}), "electrons")

    # --- how ---

    def _get(self, path: str, query: Mapping[str, object] | None = None, held: float = 0.0) -> Json:
        return self._server.send("GET", path, query, held=held).json(self.url)

    def _path(self, dispatch_id: str, what: str = "") -> str:
        if not isinstance(dispatch_id, str):
            dispatch_id = str(dispatch_id)
        last = _LAST.fullmatch(dispatch_id)
        if last is not None:
            back = int(last[1] or 0)
            found = [one["dispatch_id"] for one in self.list(limit=back + 1)]
            if len(found) <= back:
                raise NotFound(f"there is no dispatch `{dispatch_id}`", kind="UnknownDispatch", status=404)
            dispatch_id = found[back]
        return f"/api/v1/dispatches/{quote(dispatch_id, safe='')}" + (f"/{what}" if what else "")

    @staticmethod
    def _edits(replace: Mapping[str, Any] | None, recompute: object, reuse: bool) -> Json:
        body: Json = {"replace_electrons": dict(replace)} if replace else {}
        if recompute is not None:
            body["recompute"] = recompute if isinstance(recompute, str) else [*recompute]  # type: ignore[misc]
        return body if reuse else {**body, "reuse_previous_results": False}

    def _post(
        self,
        dispatch_id: str,
        verb: str,
        body: Json,
        inputs: Mapping[str, Any] | None = None,
        replace: Mapping[str, str | Upload] | None = None,
        wait: float = 0.0,
    ) -> Json:
        path, sent, wait = self._path(dispatch_id, verb), 0, min(wait, LONGEST_WAIT_S)

        def send(upload: Upload) -> Json:
            nonlocal sent
            sent += 1
            return {"$capsule" if upload.media_type == CODE else "$blob": self.upload(upload)}

        for once_more in (True, False):
            try:
                if inputs:
                    body["inputs"] = {name: _as_json(value, str(name), send) for name, value in inputs.items()}
                if replace:
                    body["replace_electrons"] = {
                        name: send(by) if isinstance(by, Upload) else by for name, by in replace.items()
                    }
            except RecursionError:
                raise Refused("an input is nested too deep", "upload it", kind="InputError") from None
            try:
                query = {"wait": f"{wait:g}"} if wait else None
                return self._server.send("POST", path, query, body, held=wait).json(self.url)
            except Refused as error:
                # Started again since, or an hour has passed: nothing was begun with them, and they are still here.
                if not (sent and once_more and error.kind == "UnknownUpload"):
                    raise
        raise AssertionError


def list_of(answer: Json, name: str) -> Sequence[Json]:
    found: Sequence[Json] = answer[name]
    return found


def _value_of(answer: Json) -> Any:
    if "value" in answer:
        return answer["value"]
    kind, preview = answer.get("type") or "", answer.get("preview") or ""
    error = NotJson(
        f"the result is {kind or 'something'} that JSON does not hold, or that is too large for it",
        "`answer` has a preview of it, `download` its bytes; or let an electron make numbers, texts and lists of it",
    )
    error.type, error.preview = kind, preview
    raise error


class Dispatch:
    """One dispatch of a server. `id` is its full id, `status` what was last heard of it."""

    def __init__(self, client: Client, told: Json) -> None:
        self.client = client
        self.id: str = told["dispatch_id"]
        self._told = told

    @property
    def status(self) -> str:
        """RUNNING, COMPLETED, FAILED, CANCELLED or INTERRUPTED."""
        return str(self._told["status"])

    @property
    def is_over(self) -> bool:
        return self.status in OVER

    @property
    def lattice(self) -> str:
        """The name of the workflow."""
        return str(self._told.get("lattice", ""))

    def __repr__(self) -> str:
        return f"<dispatch {self.id[:12]} of {self.lattice}: {self.status}>"

    def __str__(self) -> str:
        return self.id

    def wait(self, timeout: float | None = None) -> Dispatch:
        """Until it is over, whatever came of it; gives itself. Raises StillRunning after `timeout` seconds."""
        heard = time.monotonic()
        deadline = None if timeout is None else heard + timeout
        held = True
        while not self.is_over:
            left = WAIT_S if deadline is None else min(WAIT_S, deadline - time.monotonic())
            if left <= 0:
                raise _late(self.id, timeout)
            try:
                if not held:  # so many wait there that it takes no more who do: look now and then
                    time.sleep(min(left, pause_before(3)))
                self._told = self.client.get(self.id, wait=max(left, 0.01) if held else 0.0, nodes=False)
                heard = time.monotonic()
            except Unreachable as error:
                held = error.status not in (429, 503)
                if time.monotonic() - heard > self.client.patience:
                    raise
        return self

    def result(self, node: str | None = None) -> Any:
        """The value, or that of a node. Raises NotJson, StillRunning, DispatchFailed, NoResult."""
        known = self._told.get("result")  # short work is answered with its result
        if node is None and isinstance(known, dict) and "value" in known:
            return known["value"]
        return self.client.result(self.id, node)

    def refresh(self) -> Dispatch:
        """Ask what has become of it; gives itself."""
        self._told = self.client.get(self.id, nodes=False)
        return self

    def get(self) -> Json:
        """All about it, as `cas-run show --json` has it."""
        return self.client.get(self.id)

    def answer(self, node: str | None = None) -> Json:
        return self.client.answer(self.id, node)

    def download(self, node: str | None = None, to: IO[bytes] | str | None = None) -> bytes:
        return self.client.download(self.id, node, to)

    def events(self, *, last_event_id: str = "") -> Events:
        return self.client.events(self.id, last_event_id=last_event_id)

    def logs(self, node: str | None = None, *, follow: bool = False) -> Iterator[Json]:
        return self.client.logs(self.id, node, follow=follow)

    def explain(self, node: str | None = None) -> Json:
        return self.client.explain(self.id, node)

    def diff(self, other: str) -> Json:
        """This one beside another."""
        return self.client.diff(self.id, other)

    def cancel(self) -> bool:
        return self.client.cancel(self.id)

    def redispatch(self, inputs: Mapping[str, Any] | None = None, **options: Any) -> Dispatch:
        """As `Client.redispatch`, of this one."""
        return self.client.redispatch(self.id, inputs, **options)

    def plan(self, inputs: Mapping[str, Any] | None = None, **options: Any) -> Json:
        return self.client.plan(self.id, inputs, **options)


def _late(dispatch_id: str, timeout: float | None) -> StillRunning:
    return StillRunning(f"dispatch {dispatch_id[:12]} was not over after {timeout:g} s", "it goes on; ask again")


# The same with await ----------------------------------------------------------------------------------------------


class AsyncClient:
    """A Client whose methods are awaited; its options are the same. `async with` closes it.

    Requests are made in threads of its own; while a dispatch is waited for there is none.
    """

    def __init__(self, url: str | None = None, token: str | None = None, **options: Any) -> None:
        self.sync = Client(url, token, **options)
        from concurrent.futures import ThreadPoolExecutor

        self._threads = ThreadPoolExecutor(16, thread_name_prefix="cas-run-client")

    def __repr__(self) -> str:
        return repr(self.sync)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._threads.shutdown(wait=False)
        self.sync.close()

    async def run(self, method: Callable[..., T], *args: Any, **options: Any) -> T:
        """What a method of the Client gives, without holding up the loop."""
        import asyncio

        call = functools.partial(method, *args, **options)
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    async def redispatch(
        self, dispatch_id: str, inputs: Mapping[str, Any] | None = None, **options: Any
    ) -> AsyncDispatch:
        return AsyncDispatch(self, await self.run(self.sync.redispatch, dispatch_id, inputs, **options))

    async def plan(self, dispatch_id: str, inputs: Mapping[str, Any] | None = None, **options: Any) -> Json:
        return await self.run(self.sync.plan, dispatch_id, inputs, **options)

    async def cancel(self, dispatch_id: str) -> bool:
        return await self.run(self.sync.cancel, dispatch_id)

    async def upload(self, upload: Upload) -> str:
        return await self.run(self.sync.upload, upload)

    async def get(self, dispatch_id: str, **options: Any) -> Json:
        return await self.run(self.sync.get, dispatch_id, **options)

    async def dispatch(self, dispatch_id: str) -> AsyncDispatch:
        return AsyncDispatch(self, await self.run(self.sync.dispatch, dispatch_id))

    async def list(self, **options: Any) -> AsyncIterator[Json]:
        async for one in self._each(self.sync.list(**options)):
            yield one

    async def result(self, dispatch_id: str, node: str | None = None) -> Any:
        return await self.run(self.sync.result, dispatch_id, node)

    async def answer(self, dispatch_id: str, node: str | None = None) -> Json:
        return await self.run(self.sync.answer, dispatch_id, node)

    async def download(self, dispatch_id: str, node: str | None = None, to: IO[bytes] | str | None = None) -> bytes:
        return await self.run(self.sync.download, dispatch_id, node, to)

    async def events(self, dispatch_id: str, *, last_event_id: str = "") -> AsyncIterator[Event]:
        """As of the Client. Whoever stops early closes it: `async with contextlib.aclosing(...)`."""
        events = self.sync.events(dispatch_id, last_event_id=last_event_id)
        try:
            async for event in self._each(events):
                yield event
        finally:
            events.close()

    async def logs(self, dispatch_id: str, node: str | None = None, *, follow: bool = False) -> AsyncIterator[Json]:
        async for piece in self._each(self.sync.logs(dispatch_id, node, follow=follow)):
            yield piece

    async def explain(self, dispatch_id: str, node: str | None = None) -> Json:
        return await self.run(self.sync.explain, dispatch_id, node)

    async def diff(self, dispatch_id: str, other: str) -> Json:
        return await self.run(self.sync.diff, dispatch_id, other)

    async def lattices(self) -> Sequence[Json]:
        return await self.run(self.sync.lattices)

    async def inputs(self, lattice: str) -> Json:
        return await self.run(self.sync.inputs, lattice)

    async def electrons(self, name: str | None = None) -> Sequence[Json]:
        return await self.run(self.sync.electrons, name)

    async def _each(self, items: Iterator[T]) -> AsyncIterator[T]:
        """One after the other, in a thread of its own: a stream of events must not keep requests waiting."""
        import asyncio
        from concurrent.futures import ThreadPoolExecutor

        loop, end = asyncio.get_running_loop(), object()
        one = ThreadPoolExecutor(1, thread_name_prefix="cas-run-events")
        try:
            while True:
                item: Any = await loop.run_in_executor(one, next, items, end)
                if item is end:
                    return
                yield item
        finally:
            one.shutdown(wait=False)


class AsyncDispatch:
    """One dispatch of a server, to be awaited."""

    def __init__(self, client: AsyncClient, sync: Dispatch) -> None:
        self.client = client
        self.sync = sync
        self.id = sync.id

    @property
    def status(self) -> str:
        return self.sync.status

    @property
    def is_over(self) -> bool:
        return self.sync.is_over

    def __repr__(self) -> str:
        return repr(self.sync)

    def __str__(self) -> str:
        return self.id

    async def wait(self, timeout: float | None = None) -> AsyncDispatch:
        """Until it is over: asked now and then, so that thousands can be waited for."""
        import asyncio

        heard = time.monotonic()
        deadline = None if timeout is None else heard + timeout
        pause = 0.02
        while not self.is_over:
            left = pause if deadline is None else min(pause, deadline - time.monotonic())
            if left <= 0:
                raise _late(self.id, timeout)
            await asyncio.sleep(left)
            try:
                await self.refresh()
                heard = time.monotonic()
            except Unreachable:
                if time.monotonic() - heard > self.client.sync.patience:
                    raise
            pause = min(2.0, pause * 1.5)
        return self

    async def result(self, node: str | None = None) -> Any:
        return await self.client.run(self.sync.result, node)

    async def refresh(self) -> AsyncDispatch:
        await self.client.run(self.sync.refresh)
        return self

    async def get(self) -> Json:
        return await self.client.get(self.id)

    async def answer(self, node: str | None = None) -> Json:
        return await self.client.answer(self.id, node)

    async def download(self, node: str | None = None, to: IO[bytes] | str | None = None) -> bytes:
        return await self.client.download(self.id, node, to)

    def events(self, *, last_event_id: str = "") -> AsyncIterator[Event]:
        return self.client.events(self.id, last_event_id=last_event_id)

    def logs(self, node: str | None = None, *, follow: bool = False) -> AsyncIterator[Json]:
        return self.client.logs(self.id, node, follow=follow)

    async def explain(self, node: str | None = None) -> Json:
        return await self.client.explain(self.id, node)

    async def diff(self, other: str) -> Json:
        return await self.client.diff(self.id, other)

    async def cancel(self) -> bool:
        return await self.client.cancel(self.id)

    async def redispatch(self, inputs: Mapping[str, Any] | None = None, **options: Any) -> AsyncDispatch:
        return await self.client.redispatch(self.id, inputs, **options)

    async def plan(self, inputs: Mapping[str, Any] | None = None, **options: Any) -> Json:
        return await self.client.plan(self.id, inputs, **options)


# From a shell -----------------------------------------------------------------------------------------------------


def main(words: Sequence[str] | None = None) -> int:
    """`python client.py redispatch ID C=1.5 --wait`: one JSON object or line each on stdout; 1 if it failed."""
    import argparse

    parser = argparse.ArgumentParser(prog="client.py", description="Talk to a `cas-run serve`.")
    where = argparse.ArgumentParser(add_help=False)  # before the verb, or after it
    for option, told in (("--url", "the server; else CAS_RUN_SERVER"), ("--token", "else CAS_RUN_TOKEN")):
        parser.add_argument(option, help=told)
        where.add_argument(option, help=told, default=argparse.SUPPRESS)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, told in (
        ("redispatch", "run a dispatch again; prints the new id"),
        ("plan", "what that would run"),
        ("get", "all about a dispatch"),
        ("result", "its value"),
        ("events", "what happens, until it is over"),
        ("logs", "what its electrons printed"),
        ("explain", "why they ran"),
        ("diff", "what differs from another dispatch"),
        ("cancel", "stop it"),
    ):
        one = verbs.add_parser(verb, help=told, description=told, parents=[where])
        one.add_argument("id")
        if verb in ("redispatch", "plan"):
            one.add_argument("inputs", nargs="*", metavar="NAME=VALUE", help="a JSON literal, or else a text")
            one.add_argument("--replace", action="append", default=[], metavar="NAME=ELECTRON")
            one.add_argument("--recompute", action="append", metavar="WHAT", help="stochastic, all, or names")
        if verb == "redispatch":
            one.add_argument("--wait", action="store_true", help="until it is over; prints the result")
            one.add_argument("--key", help="runs once, however often it is said with one key")
        if verb in ("result", "logs", "explain"):
            one.add_argument("--node")
        if verb == "logs":
            one.add_argument("--follow", action="store_true", help="until it is over")
        if verb == "diff":
            one.add_argument("other")
    newest = verbs.add_parser("list", help="the dispatches, newest first", parents=[where])
    newest.add_argument("-n", type=int, default=20)
    verbs.add_parser("lattices", help="the lattices", parents=[where])
    chosen = parser.parse_args(words)
    try:
        with Client(chosen.url, chosen.token) as client:
            _do(client, chosen)
    except ClientError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("error: interrupted; what runs on the server goes on\n")
        return 130
    except OSError as error:  # of stdout: `client.py list | head`, a full disk
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing is to be flushed at the end
        if isinstance(error, BrokenPipeError):
            return 141
        sys.stderr.write(f"error: can't write the answer: {error.strerror}\n")
        return 74
    return 0


def _do(client: Client, chosen: Any) -> None:
    def show(value: object) -> None:
        sys.stdout.write(json.dumps(value) + "\n")
        sys.stdout.flush()

    options: Json = {}
    if chosen.verb in ("redispatch", "plan"):
        recompute = chosen.recompute
        options = {
            "inputs": {name: _literal(text) for name, text in map(_pair, chosen.inputs)},
            "replace_electrons": dict(map(_pair, chosen.replace)),
            "recompute": recompute[0] if recompute in (["all"], ["stochastic"]) else recompute,
        }
    if chosen.verb == "redispatch":
        started = client.redispatch(chosen.id, idempotency_key=chosen.key, **options)
        if chosen.wait:
            show(started.wait().result())
        else:
            sys.stdout.write(f"{started}\n")
            sys.stdout.flush()
    elif chosen.verb == "plan":
        show(client.plan(chosen.id, **options))
    elif chosen.verb == "result":
        show(client.result(chosen.id, chosen.node))
    elif chosen.verb == "events":
        for event in client.events(chosen.id):
            show({"event": event.kind, **event.data})
    elif chosen.verb == "logs":
        for piece in client.logs(chosen.id, chosen.node, follow=chosen.follow):
            show(piece)
    elif chosen.verb == "explain":
        show(client.explain(chosen.id, chosen.node))
    elif chosen.verb == "diff":
        show(client.diff(chosen.id, chosen.other))
    elif chosen.verb == "list":
        for one in client.list(limit=chosen.n):
            show(one)
    elif chosen.verb == "lattices":
        for lattice in client.lattices():
            show(lattice)
    else:
        show(getattr(client, chosen.verb)(chosen.id))


def _pair(text: str) -> list[str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise Refused(f"`{text}` is not name=value", "for instance C=1.5")
    return [name, value]


def _literal(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


if __name__ == "__main__":
    sys.exit(main())
