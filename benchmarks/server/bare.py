"""The limit: the same framework, set up in the same way, with a handler that reads JSON and writes some."""

from __future__ import annotations

import asyncio
import json
import os
import socket

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route


async def answer(request: Request) -> JSONResponse:
    body = await request.json()
    return JSONResponse({"dispatch_id": "0" * 32, "status": "COMPLETED", "asked": len(body), "result": {"value": 1.5}})


def main() -> None:
    # With the protocol said: else asyncio leaves Nagle's algorithm on, and each answer waits for it.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1024)
        print(json.dumps({"port": listener.getsockname()[1], "pid": os.getpid()}), flush=True)
        app = Starlette(routes=[Route("/", answer, methods=["POST"])])
        config = uvicorn.Config(app, http="h11", ws="none", lifespan="off", loop="asyncio", log_config=None)
        asyncio.run(uvicorn.Server(config).serve(sockets=[listener]))


if __name__ == "__main__":
    main()
