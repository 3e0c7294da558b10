"""reuse.py COUNT MODEL: that many chat completions, one after another, over one connection."""

import http.client
import json
import ssl
import sys
from urllib.parse import urlsplit

from report import MESSAGES, URL, report

count, model = int(sys.argv[1]), sys.argv[2]
connection = http.client.HTTPSConnection(urlsplit(URL).netloc, context=ssl.create_default_context())
connection.connect()
socket = connection.sock
total = 0
for number in range(count):
    body = json.dumps({"model": f"{model}{number}", "messages": MESSAGES})
    connection.request("POST", "/v1/chat/completions", body, {"content-type": "application/json"})
    total += json.load(connection.getresponse())["usage"]["completion_tokens"]
    assert connection.sock is socket, "the connection was not kept"
report(usage_output=total)
