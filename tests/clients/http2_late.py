"""http2_late.py MODEL GO: a call over HTTP/2, and once the file GO exists two more on its connection."""

import os
import sys
import time

import httpx

from report import MESSAGES, URL

model, go = sys.argv[1:]
url = f"{URL}/v1/chat/completions"


def call(client, number):
    body = {"model": f"{model}{number}", "messages": MESSAGES}
    answer = client.post(url, json=body, headers={"authorization": f"Bearer {os.environ['OPENAI_API_KEY']}"})
    assert answer.http_version == "HTTP/2" and answer.json()["usage"], answer


# The connection has to outlive the start of a daemon on a busy machine.
with httpx.Client(http2=True, limits=httpx.Limits(keepalive_expiry=70)) as client:
    call(client, 1)
    print("first", flush=True)
    while not os.path.exists(go):
        time.sleep(0.02)
    call(client, 2)
    call(client, 3)
