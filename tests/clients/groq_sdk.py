"""groq_sdk.py OPERATION MODEL [async]: one call with Groq's SDK."""

import asyncio
import sys

import groq
from report import MESSAGES, report

operation, model, *rest = sys.argv[1:]
request = {"model": model, "messages": MESSAGES}
match operation:
    case "chat-stream":
        # Groq's API knows it, its SDK does not.
        request |= {"stream": True, "extra_body": {"stream_options": {"include_usage": True}}}
    case "chat-stream-plain":
        request |= {"stream": True}


def usage_of(item):
    """The usage in a whole answer or in one event of a stream: also there, for who did not ask."""
    return getattr(item, "usage", None) or getattr(getattr(item, "x_groq", None), "usage", None)


def run():
    answer = groq.Groq(max_retries=0).chat.completions.create(**request)
    items = answer if "stream" in request else [answer]
    return [usage for item in items if (usage := usage_of(item))]


async def run_async():
    async with groq.AsyncGroq(max_retries=0) as client:
        answer = await client.chat.completions.create(**request)
        if "stream" not in request:
            return [usage_of(answer)]
        return [usage async for item in answer if (usage := usage_of(item))]


usage = (asyncio.run(run_async()) if rest == ["async"] else run())[-1]
report(usage.prompt_tokens, usage.completion_tokens)
