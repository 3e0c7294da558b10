"""ollama_sdk.py OPERATION MODEL [async]: one call with Ollama's own SDK, in Ollama's own format."""

import asyncio
import sys

import ollama
from report import MESSAGES, PROMPT, report

operation, model, *rest = sys.argv[1:]
stream = operation.endswith("-stream")


def start(client):
    """The call itself, the same for both kinds of client."""
    if operation == "embed":
        return client.embed(model=model, input=PROMPT)
    return client.chat(model=model, messages=MESSAGES, stream=stream)


async def run_async():
    answer = await start(ollama.AsyncClient())
    return [part async for part in answer][-1] if stream else answer


def run():
    answer = start(ollama.Client())
    return list(answer)[-1] if stream else answer


answer = asyncio.run(run_async()) if rest == ["async"] else run()
report(answer.prompt_eval_count, getattr(answer, "eval_count", None))
