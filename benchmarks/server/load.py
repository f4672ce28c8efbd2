"""Many clients at once, each with one connection, in one process: `load.py WHAT PORT PATH TOKEN N CLIENTS`."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any


async def ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, method: str, path: str, token: str, body: bytes
) -> tuple[int, dict[str, Any]]:
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    answered = await reader.readuntil(b"\r\n\r\n")
    lines = answered.decode().lower().split("\r\n")
    length = next(int(line.partition(":")[2]) for line in lines if line.startswith("content-length:"))
    told: dict[str, Any] = json.loads(await reader.readexactly(length))
    return int(lines[0].split()[1]), told


async def many(
    port: int, path: str, token: str, bodies: Iterator[bytes], clients: int
) -> tuple[list[float], list[dict[str, Any]]]:
    taken, told = [], []

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for body in bodies:
            began = time.perf_counter()
            status, answer = await ask(reader, writer, "POST", path, token, body)
            taken.append(time.perf_counter() - began)
            if status != 200:
                raise RuntimeError(f"{status}: {answer}")
            told.append(answer)
        writer.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    return taken, told


async def main() -> None:
    what, port, path, token = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
    if what == "get":
        _, one = await ask(*await asyncio.open_connection("127.0.0.1", port), "GET", path, token, b"")
        print(json.dumps(one))
        return
    count, clients = map(int, sys.argv[5:7])
    body_of: Callable[[int], dict[str, Any]] = {
        "same": lambda _: {},
        "inputs": lambda number: {"inputs": {"C": 2.0 + number / 100}},
    }[what]
    bodies = iter([json.dumps(body_of(number)).encode() for number in range(count)])
    await many(port, path, token, iter([b"{}"] * clients), clients) if what == "same" else None  # all is warm
    began = time.perf_counter()
    taken, told = await many(port, path, token, bodies, clients)
    seconds = time.perf_counter() - began
    print(json.dumps({"seconds": seconds, "taken": taken, "locations": [one.get("location") for one in told]}))


if __name__ == "__main__":
    asyncio.run(main())
