"""fork.py equal|shared MODEL: calls by forked processes whose SSL objects have the same address.

`equal`: two children each open a connection of their own. Their heaps are copies, so the objects
land on the same address. `shared`: the parent opens a connection and makes a call, then a child
makes one over the connection it has inherited.
Each process prints its id and that address.
"""

import ctypes
import http.client
import json
import os
import ssl
import sys
from urllib.parse import urlsplit

from report import MESSAGES, URL, report

how, model = sys.argv[1:]
context = ssl.create_default_context()


def connect():
    connection = http.client.HTTPSConnection(urlsplit(URL).netloc, context=context)
    connection.connect()
    return connection


def call(connection, who):
    body = json.dumps({"model": f"{model}{who}", "messages": MESSAGES})
    connection.request("POST", "/v1/chat/completions", body, {"content-type": "application/json"})
    usage = json.load(connection.getresponse())["usage"]
    # `PySSLSocket` is the object's head (16 bytes), a reference, then `SSL *`.
    pointer = ctypes.c_uint64.from_address(id(connection.sock._sslobj) + 24)
    report(usage["prompt_tokens"], usage["completion_tokens"], who=who, pid=os.getpid(), ssl=pointer.value)


def in_child(work):
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return pid


def wait(pid):
    if os.waitpid(pid, 0)[1] != 0:
        raise SystemExit(f"the child {pid} failed")


if how == "equal":
    children = [in_child(lambda who=who: call(connect(), who)) for who in ("first", "second")]
    for child in children:
        wait(child)
else:
    connection = connect()
    call(connection, "parent")
    wait(in_child(lambda: call(connection, "child")))
