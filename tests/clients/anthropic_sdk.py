"""anthropic_sdk.py OPERATION MODEL [async]: one call with Anthropic's SDK."""

import asyncio
import sys

import anthropic

from report import MESSAGES, report

operation, model, *rest = sys.argv[1:]
request = {"model": model, "max_tokens": 64, "messages": MESSAGES}


def run():
    client = anthropic.Anthropic(max_retries=0)
    if operation == "messages":
        return client.messages.create(**request)
    with client.messages.stream(**request) as stream:
        return stream.get_final_message()


async def run_async():
    async with anthropic.AsyncAnthropic(max_retries=0) as client:
        if operation == "messages":
            return await client.messages.create(**request)
        async with client.messages.stream(**request) as stream:
            return await stream.get_final_message()


usage = (asyncio.run(run_async()) if rest == ["async"] else run()).usage
cached = (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0)
report(usage.input_tokens + cached, usage.output_tokens)
