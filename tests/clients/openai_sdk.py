"""openai_sdk.py OPERATION MODEL [async]: one call with OpenAI's SDK."""

import asyncio
import sys

import openai

from report import MESSAGES, PROMPT, report

operation, model, *rest = sys.argv[1:]
stream = operation.endswith("-stream")
include_usage = {"stream_options": {"include_usage": True}} if stream else {}


def start(client):
    """The call itself, the same for both kinds of client."""
    match operation.removesuffix("-stream").removesuffix("-nousage"):
        case "chat" | "azure":
            return client.chat.completions.create(
                model=model, messages=MESSAGES, stream=stream, **include_usage
            )
        case "completions":
            return client.completions.create(model=model, prompt=PROMPT, stream=stream, **include_usage)
        case "responses":
            return client.responses.create(model=model, input=PROMPT, stream=stream)
        case "embeddings":
            return client.embeddings.create(model=model, input=PROMPT)
        case unknown:
            raise SystemExit(f"no operation {unknown}")


def usage_of(item):
    """The usage in a whole answer or in one event of a stream, wherever that API puts it."""
    usage = getattr(item, "usage", None) or getattr(getattr(item, "response", None), "usage", None)
    if usage is None:
        return None
    if hasattr(usage, "input_tokens"):
        return usage.input_tokens, usage.output_tokens
    return usage.prompt_tokens, getattr(usage, "completion_tokens", None)


def run():
    kind = openai.AzureOpenAI if operation.startswith("azure") else openai.OpenAI
    answer = start(kind(max_retries=0))
    items = answer if stream else [answer]
    return [usage for item in items if (usage := usage_of(item))]


async def run_async():
    kind = openai.AsyncAzureOpenAI if operation.startswith("azure") else openai.AsyncOpenAI
    async with kind(max_retries=0) as client:
        answer = await start(client)
        if not stream:
            return [usage_of(answer)]
        return [usage async for item in answer if (usage := usage_of(item))]


found = asyncio.run(run_async()) if rest == ["async"] else run()
report(*found[-1])
