"""bedrock_sdk.py OPERATION MODEL: one call with boto3."""

import json
import sys

import boto3
from botocore.config import Config
from report import MESSAGES, PROMPT, report

operation, model = sys.argv[1:]
client = boto3.client("bedrock-runtime", config=Config(retries={"total_max_attempts": 1}))
messages = [{"role": "user", "content": [{"text": PROMPT}]}]
invoke = json.dumps({"anthropic_version": "bedrock-2023-05-31", "max_tokens": 64, "messages": MESSAGES})

match operation:
    case "converse":
        usage = client.converse(modelId=model, messages=messages)["usage"]
    case "converse-stream":
        events = list(client.converse_stream(modelId=model, messages=messages)["stream"])
        usage = events[-1]["metadata"]["usage"]
    case "invoke":
        answer = client.invoke_model(modelId=model, body=invoke)
        usage = json.load(answer["body"])["usage"]
    case "invoke-stream":
        answer = client.invoke_model_with_response_stream(modelId=model, body=invoke)
        events = [json.loads(event["chunk"]["bytes"]) for event in answer["body"]]
        [usage] = [event["usage"] for event in events if event["type"] == "message_delta"]
        metrics = events[-1]["amazon-bedrock-invocationMetrics"]
        assert metrics["outputTokenCount"] == usage["output_tokens"], metrics
    case unknown:
        raise SystemExit(f"no operation {unknown}")

if "totalTokens" in usage:
    report(usage["totalTokens"] - usage["outputTokens"], usage["outputTokens"])
else:
    cached = usage["cache_read_input_tokens"] + usage["cache_creation_input_tokens"]
    report(usage["input_tokens"] + cached, usage["output_tokens"])
