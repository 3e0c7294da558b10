"""gemini_sdk.py OPERATION MODEL [async]: one call with Google's SDK."""

import asyncio
import os
import sys

from google import genai
from google.genai import types

from report import PROMPT, report

operation, model, *rest = sys.argv[1:]
client = genai.Client(
    api_key=os.environ["GEMINI_API_KEY"],
    http_options=types.HttpOptions(base_url=os.environ["GOOGLE_GEMINI_BASE_URL"]),
)


def run():
    if operation == "generate":
        return client.models.generate_content(model=model, contents=PROMPT)
    return list(client.models.generate_content_stream(model=model, contents=PROMPT))[-1]


async def run_async():
    if operation == "generate":
        return await client.aio.models.generate_content(model=model, contents=PROMPT)
    async for answer in await client.aio.models.generate_content_stream(model=model, contents=PROMPT):
        last = answer
    return last


usage = (asyncio.run(run_async()) if rest == ["async"] else run()).usage_metadata
report(usage.prompt_token_count, usage.candidates_token_count + (usage.thoughts_token_count or 0))
