"""harness.py DATAPOINTS: an evaluation, as people write it.

Data points are worked on by threads of this process, by subprocesses and by `multiprocessing`, in turn, each with
the SDKs of OpenAI and Anthropic. Some calls fail for good, some are repeated first. What a data point is called
goes along in the environment where a process is its own, and in a header where it is a thread.
"""

import concurrent.futures
import multiprocessing
import os
import subprocess
import sys

import anthropic
import openai

from report import MESSAGES

LABELS = "LLM_TRACKER_LABELS"


def labelled(number):
    """This environment with one label more."""
    return f"{os.environ.get(LABELS, '')},data_id={number}"


def attempt(call):
    """A harness goes on when a call fails."""
    try:
        call()
    except (openai.APIStatusError, anthropic.APIStatusError):
        pass


def datapoint(number, headers=None):
    """Three to five calls, of which some fail; the models' names say what is to be answered."""
    model = f"standin-in{100 + number}-out{number + 1}"
    chat = {"messages": MESSAGES, "extra_headers": headers}
    oai = openai.OpenAI(max_retries=1)
    claude = anthropic.Anthropic(max_retries=1)
    oai.chat.completions.create(model=f"{model}-tool-tag{number}", **chat)
    oai.chat.completions.create(model=f"{model}-reason1-tag{number}", **chat)
    claude.messages.create(model=f"{model}-cached50-tag{number}", max_tokens=64, **chat)
    if number % 4 == 0:
        attempt(lambda: oai.chat.completions.create(model=f"{model}-status400-tag{number}", **chat))
    if number % 5 == 0:
        refused = f"{model}-status529-tag{number}"
        attempt(lambda: claude.messages.create(model=refused, max_tokens=64, **chat))


def main():
    numbers = range(int(sys.argv[1]))
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        waited_for = [
            threads.submit(datapoint, number, {"x-llm-tracker-labels": f"data_id={number}"})
            for number in numbers[0::3]
        ]
        waited_for += [
            threads.submit(
                subprocess.run,
                [sys.executable, __file__, "datapoint", str(number)],
                env={**os.environ, LABELS: labelled(number)},
                check=True,
            )
            for number in numbers[1::3]
        ]
        children = []
        for number in numbers[2::3]:
            before = os.environ.get(LABELS)
            os.environ[LABELS] = labelled(number)
            children.append(spawn.Process(target=datapoint, args=(number,)))
            children[-1].start()
            os.environ[LABELS] = before or ""
        for child in children:
            child.join()
            if child.exitcode != 0:
                raise SystemExit("a child failed")
        for future in waited_for:
            future.result()


if __name__ == "__main__":
    if sys.argv[1] == "datapoint":
        datapoint(int(sys.argv[2]))
    else:
        main()
