"""mistral_sdk.py OPERATION MODEL [async]: one call with Mistral's SDK."""

import asyncio
import os
import sys

from mistralai.client import Mistral
from report import MESSAGES, report

operation, model, *rest = sys.argv[1:]
client = Mistral(api_key=os.environ["MISTRAL_API_KEY"], server_url=os.environ["MISTRAL_SERVER_URL"])
request = {"model": model, "messages": MESSAGES}


def run():
    if operation == "chat":
        return client.chat.complete(**request)
    return [event.data for event in client.chat.stream(**request)][-1]


async def run_async():
    if operation == "chat":
        return await client.chat.complete_async(**request)
    return [event.data async for event in await client.chat.stream_async(**request)][-1]


usage = (asyncio.run(run_async()) if rest == ["async"] else run()).usage
report(usage.prompt_tokens, usage.completion_tokens)
