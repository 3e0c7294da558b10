"""rustls_http.py MODEL COUNT [http2] [tls12] [rounds=N] [more=BYTES]: reqwest over rustls, in Python's clothes.

COUNT streams at once on a runtime of four threads, as often as there are rounds, each its own model name.
"""

import asyncio
import json
import os
import sys

from pyreqwest.client import ClientBuilder
from pyreqwest.runtime import runtime_worker_threads

from report import MESSAGES, URL, report

model, count, *rest = sys.argv[1:]
options = dict(option.partition("=")[::2] for option in rest)
version = "HTTP/2.0" if "http2" in options else "HTTP/1.1"
padding = [{"role": "system", "content": "x" * int(options.get("more", 0))}]

runtime_worker_threads(4)
with open(os.environ["SSL_CERT_FILE"], "rb") as authority:
    builder = ClientBuilder().runtime_multithreaded(True).add_root_certificate_pem(authority.read())
builder = builder.http2(True) if "http2" in options else builder.http1_only()
if "tls12" in options:
    builder = builder.max_tls_version("TLSv1.2")


async def one(client, number):
    body = {"model": f"{model}{number}", "messages": padding + MESSAGES}
    body |= {"stream": True, "stream_options": {"include_usage": True}}
    request = client.post(f"{URL}/v1/chat/completions").bearer_auth(os.environ["OPENAI_API_KEY"])
    response = await request.body_json(body).build().send()
    assert response.version == version, response.version
    text = await response.text()
    events = [line[len("data: ") :] for line in text.splitlines() if line.startswith("data: {")]
    return json.loads(events[-1])["usage"]["completion_tokens"]


async def run():
    total = 0
    async with builder.error_for_status(True).build() as client:
        for round in range(int(options.get("rounds", 1))):
            numbers = range(round * int(count), (round + 1) * int(count))
            total += sum(await asyncio.gather(*(one(client, number) for number in numbers)))
    return total


report(usage_output=asyncio.run(run()))
# The runtime's threads go on, and may want the interpreter when that has begun to end.
os._exit(0)
