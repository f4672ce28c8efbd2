"""How much of everything the server takes. Pure."""

from __future__ import annotations

BODY = 1 << 20  # bytes
UPLOAD = 256 << 20
UPLOADS = 4 << 30  # bytes of all uploads together
UPLOAD_S = 3600.0  # how long an upload is kept
URL = 8 << 10  # bytes, with the query
HEADERS = 16 << 10
HEADERS_S = 10.0  # until the first request of a connection is there
DRAINED = 8 << 20  # bytes of a body that was refused, read on so that the answer arrives
DRAIN_S = 1.0  # without a byte of it
BODY_S = 30.0  # without a byte of a body
DEPTH = 64  # levels of a JSON text
DIGITS = 1000  # of a number in one
CONNECTIONS = 1000
REQUESTS = 500  # at a time, without event streams
STREAMS = 400
STREAM_EVENTS = 10_000  # that a stream may be behind
SEND_S = 30.0  # a stream that takes nothing for so long is closed
HEARTBEAT_S = 15.0
ENDLESS = "cas-run.endless"  # in the scope of a request whose answer ends when its client goes
WAIT_S = 60
PREPARE_S = 300.0
PENDING = 64  # requests that one coordinator has under way
PAGE, MOST_PAGE = 50, 500  # dispatches
SCANNED = 5000  # dispatches looked at for one page
NODES, MOST_NODES = 1000, 10_000
RESULT = 8 << 20  # bytes of a result as JSON
KEPT_S = 7 * 86400.0  # how long idempotency keys are known
