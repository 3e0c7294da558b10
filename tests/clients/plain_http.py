"""plain_http.py LIBRARY MODEL [stream]: one chat completion with an HTTP library, no SDK."""

import asyncio
import json
import os
import sys

from report import MESSAGES, URL, report

library, model, *rest = sys.argv[1:]
stream = rest == ["stream"]
url = f"{URL}/v1/chat/completions"
headers = {"authorization": f"Bearer {os.environ['OPENAI_API_KEY']}"}
body = {"model": model, "messages": MESSAGES}
if stream:
    body |= {"stream": True, "stream_options": {"include_usage": True}}


def usage_of(text):
    if not stream:
        return json.loads(text)["usage"]
    events = [line[len("data: ") :] for line in text.splitlines() if line.startswith("data: {")]
    return json.loads(events[-1])["usage"]


def with_requests():
    import requests

    with requests.Session() as session:
        answer = session.post(url, json=body, headers=headers, stream=stream)
        return "".join(piece.decode() for piece in answer.iter_content(97)) if stream else answer.text


def with_httpx():
    import httpx

    with httpx.Client() as client, client.stream("POST", url, json=body, headers=headers) as answer:
        return "".join(answer.iter_text())


async def with_httpx_async():
    import httpx

    async with httpx.AsyncClient() as client:
        async with client.stream("POST", url, json=body, headers=headers) as answer:
            return "".join([piece async for piece in answer.aiter_text()])


async def with_httpx_http2():
    """Three requests at once on one connection, of which the first is reported."""
    import httpx

    async with httpx.AsyncClient(http2=True) as client:

        async def one(number):
            sent = body | {"model": f"{model}{number}"}
            async with client.stream("POST", url, json=sent, headers=headers) as answer:
                assert answer.http_version == "HTTP/2", answer.http_version
                return "".join([piece async for piece in answer.aiter_text()])

        first = await one("")
        await asyncio.gather(*(one(f"-{number}") for number in range(2)))
        return first


async def with_aiohttp():
    import ssl

    import aiohttp

    trust = aiohttp.TCPConnector(ssl=ssl.create_default_context())
    async with aiohttp.ClientSession(connector=trust) as session:
        async with session.post(url, json=body, headers=headers) as answer:
            return await answer.text()


def with_curl_cffi(http_version="v1"):
    from curl_cffi import requests

    # It brings curl, BoringSSL and a list of authorities of its own.
    trust = os.environ["SSL_CERT_FILE"]
    with requests.Session(verify=trust, http_version=http_version) as session:
        answer = session.post(url, json=body, headers=headers, stream=stream)
        # CURL_HTTP_VERSION_1_1 and _2_0
        assert answer.http_version == {"v1": 2, "v2": 3}[http_version], answer.http_version
        return b"".join(answer.iter_content()).decode() if stream else answer.text


def with_pycurl():
    """curl's own library in a wheel, with a libssl that the wheel has under a name of its own."""
    import pycurl

    received = bytearray()
    client = pycurl.Curl()
    client.setopt(pycurl.URL, url)
    client.setopt(pycurl.CAINFO, os.environ["SSL_CERT_FILE"])
    sent = headers | {"content-type": "application/json"}
    client.setopt(pycurl.HTTPHEADER, [f"{name}: {value}" for name, value in sent.items()])
    client.setopt(pycurl.POSTFIELDS, json.dumps(body))
    client.setopt(pycurl.WRITEFUNCTION, received.extend)
    client.perform()
    client.close()
    return received.decode()


def with_pyopenssl():
    """urllib3 over the OpenSSL that lies inside the extension of `cryptography`."""
    import urllib3
    from urllib3.contrib import pyopenssl

    pyopenssl.inject_into_urllib3()
    with urllib3.PoolManager(ca_certs=os.environ["SSL_CERT_FILE"]) as pool:
        answer = pool.request("POST", url, json=body, headers=headers, preload_content=False)
        return b"".join(answer.stream(97)).decode()


text = {
    "requests": with_requests,
    "pycurl": with_pycurl,
    "pyopenssl": with_pyopenssl,
    "curl_cffi": with_curl_cffi,
    "curl_cffi-http2": lambda: with_curl_cffi("v2"),
    "httpx": with_httpx,
    "httpx-async": lambda: asyncio.run(with_httpx_async()),
    "httpx-http2": lambda: asyncio.run(with_httpx_http2()),
    "aiohttp": lambda: asyncio.run(with_aiohttp()),
}[library]()
usage = usage_of(text)
report(usage["prompt_tokens"], usage["completion_tokens"])
