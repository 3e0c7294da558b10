"""grpcio_client.py MODEL...: Gemini by gRPC, as a stream and whole, over the BoringSSL inside grpcio."""

import os
import sys
from urllib.parse import urlsplit

import grpc
from gemini_rpc import SERVICE, request
from report import URL, report


def main(models):
    with open(os.environ["SSL_CERT_FILE"], "rb") as authority:
        credentials = grpc.ssl_channel_credentials(authority.read())
    address = urlsplit(URL)
    with grpc.secure_channel(f"{address.hostname}:{address.port}", credentials) as channel:
        whole = channel.unary_unary(f"{SERVICE}/GenerateContent")
        stream = channel.unary_stream(f"{SERVICE}/StreamGenerateContent")
        for model in models:
            try:
                report(messages=len(list(stream(request(model), timeout=60))))
                report(bytes=len(whole(request(model), timeout=60)))
            except grpc.RpcError as error:
                report(status=error.code().name)


main(sys.argv[1:])
