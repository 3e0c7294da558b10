"""cohere_sdk.py OPERATION MODEL [async]: one call with Cohere's SDK, version 2 of the API."""

import asyncio
import sys

import cohere
from report import MESSAGES, PROMPT, report

operation, model, *rest = sys.argv[1:]


def start(client):
    """The call itself, the same for both kinds of client."""
    match operation:
        case "chat":
            return client.chat(model=model, messages=MESSAGES)
        case "chat-stream":
            return client.chat_stream(model=model, messages=MESSAGES)
        case "embed":
            return client.embed(
                model=model, texts=[PROMPT], input_type="search_query", embedding_types=["float"]
            )
        case "rerank":
            return client.rerank(model=model, query=PROMPT, documents=["one", "two"])
        case unknown:
            raise SystemExit(f"no operation {unknown}")


def run():
    answer = start(cohere.ClientV2(max_retries=0))
    return list(answer)[-1] if operation == "chat-stream" else answer


async def run_async():
    async with cohere.AsyncClientV2(max_retries=0) as client:
        if operation == "chat-stream":
            return [event async for event in start(client)][-1]
        return await start(client)


answer = asyncio.run(run_async()) if rest == ["async"] else run()
match operation:
    case "chat":
        tokens = answer.usage.tokens
    case "chat-stream":
        tokens = answer.delta.usage.tokens
    case "embed":
        tokens = answer.meta.billed_units
    case "rerank":
        assert answer.meta.billed_units.search_units == 1, answer
        tokens = answer.meta.billed_units
as_number = lambda count: None if count is None else int(count)
report(as_number(tokens.input_tokens), as_number(tokens.output_tokens))
