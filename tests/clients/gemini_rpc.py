"""Gemini's requests by gRPC, written by hand: the clients here need no generated code."""

from report import PROMPT

SERVICE = "/google.ai.generativelanguage.v1beta.GenerativeService"


def field(number, value):
    """A field of a message, of a length below 128."""
    return bytes([number << 3 | 2, len(value)]) + value


def request(model):
    """A `GenerateContentRequest`."""
    text = field(1, field(2, PROMPT.encode()))
    return field(1, f"models/{model}".encode()) + field(2, text)
