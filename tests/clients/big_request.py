"""big_request.py MEGABYTES MODEL: a chat completion whose whole request is one write to the TLS library,
then a small one over the same connection."""

import http.client
import json
import ssl
import sys
from urllib.parse import urlsplit

from report import MESSAGES, URL, report

size, model = int(sys.argv[1]) << 20, sys.argv[2]
connection = http.client.HTTPSConnection(urlsplit(URL).netloc, context=ssl.create_default_context())
for name, content in ((f"{model}big", "word " * (size // 5)), (f"{model}small", MESSAGES[0]["content"])):
    body = json.dumps({"model": name, "messages": [{"role": "user", "content": content}]})
    connection.request("POST", "/v1/chat/completions", body.encode(), {"content-type": "application/json"})
    usage = json.load(connection.getresponse())["usage"]
    report(usage["prompt_tokens"], usage["completion_tokens"])
