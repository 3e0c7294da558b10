"""grpc_client.py MODEL...: Gemini by gRPC, as a stream and whole, over Python's own TLS."""

import asyncio
import os
import ssl
import sys
from urllib.parse import urlsplit

from grpclib.client import Channel, UnaryStreamMethod, UnaryUnaryMethod
from grpclib.exceptions import GRPCError
from gemini_rpc import SERVICE, request
from report import URL, report


class Raw:
    """Messages that are bytes already."""

    __content_subtype__ = "proto"

    def encode(self, message, message_type):
        return message

    def decode(self, data, message_type):
        return data


async def main(models):
    context = ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"])
    context.set_alpn_protocols(["h2"])
    address = urlsplit(URL)
    channel = Channel(address.hostname, address.port, ssl=context, codec=Raw())
    whole = UnaryUnaryMethod(channel, f"{SERVICE}/GenerateContent", bytes, bytes)
    stream = UnaryStreamMethod(channel, f"{SERVICE}/StreamGenerateContent", bytes, bytes)
    for model in models:
        try:
            report(messages=len(await stream(request(model))))
            report(bytes=len(await whole(request(model))))
        except GRPCError as error:
            report(status=error.status.name)
    # On one connection at the same time.
    both = await asyncio.gather(*(stream(request(models[0])) for _ in range(4)))
    report(messages=sum(map(len, both)))
    channel.close()


asyncio.run(main(sys.argv[1:]))
