"""open_streams.py COUNT MODEL: that many chat completion streams, held open by one process.

Says `open` when each has had its first piece of content, then waits to be ended.
"""

import asyncio
import json
import resource
import ssl
import sys
from urllib.parse import urlsplit

from report import MESSAGES, URL

AT_ONCE = 50  # handshakes

count, model = int(sys.argv[1]), sys.argv[2]
limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
server = urlsplit(URL)
context = ssl.create_default_context()
body = json.dumps({"model": model, "messages": MESSAGES, "stream": True})
request = (
    f"POST /v1/chat/completions HTTP/1.1\r\nHost: {server.netloc}\r\n"
    f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
).encode()


async def one(gate):
    async with gate:
        reader, writer = await asyncio.open_connection(
            server.hostname, server.port, ssl=context, limit=1 << 14
        )
        writer.write(request)
    await reader.readuntil(b'"content":"c')
    return reader, writer


async def run():
    gate = asyncio.Semaphore(AT_ONCE)
    streams = await asyncio.gather(*(one(gate) for _ in range(count)))
    print("open", len(streams), flush=True)
    await asyncio.Event().wait()


asyncio.run(run())
