"""What every client here shares: the prompt, and how it says what its SDK understood."""

import json
import os

PROMPT = os.environ["STANDIN_PROMPT"]
URL = os.environ["STANDIN_URL"]
MESSAGES = [{"role": "user", "content": PROMPT}]


def report(usage_input=None, usage_output=None, **more):
    """One JSON line on standard output."""
    print(json.dumps({"input": usage_input, "output": usage_output, **more}), flush=True)
