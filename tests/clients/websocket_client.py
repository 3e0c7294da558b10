"""websocket_client.py PATH COMPRESSION MODEL...: the Responses API over one WebSocket, as Codex uses it:
a warm-up that generates nothing, then one response for each model. COMPRESSION: deflate or none."""

import asyncio
import json
import os
import ssl
import sys

import websockets
from report import PROMPT, URL, report

path, compression, *models = sys.argv[1:]


async def ask(socket, **request):
    await socket.send(json.dumps({"type": "response.create", **request}))
    async for message in socket:
        event = json.loads(message)
        if event["type"] == "response.completed":
            return event["response"]
    return None


async def main():
    headers = {
        "authorization": f"Bearer {os.environ['OPENAI_API_KEY']}",
        "x-llm-tracker-labels": "data_id=7",
    }
    async with websockets.connect(
        URL.replace("https:", "wss:") + path,
        additional_headers=headers,
        compression="deflate" if compression == "deflate" else None,
        ssl=ssl.create_default_context(),
    ) as socket:
        await ask(socket, model=models[0], input=[], generate=False)
        for model in models:
            answer = await ask(socket, model=model, input=PROMPT)
            if answer is None:
                print(json.dumps({"cut": model}), flush=True)
                return
            report(answer["usage"]["input_tokens"], answer["usage"]["output_tokens"])


asyncio.run(main())
