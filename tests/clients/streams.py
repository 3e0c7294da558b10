"""streams.py COUNT MODEL: that many streams at once in one process, each its own model name."""

import asyncio
import sys

import openai

from report import MESSAGES, report

count, model = int(sys.argv[1]), sys.argv[2]


async def one(client, number):
    stream = await client.chat.completions.create(
        model=f"{model}{number}", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
    )
    return [chunk.usage async for chunk in stream if chunk.usage][0].completion_tokens


async def run():
    async with openai.AsyncOpenAI(max_retries=0) as client:
        return await asyncio.gather(*(one(client, number) for number in range(count)))


report(usage_output=sum(asyncio.run(run())))
