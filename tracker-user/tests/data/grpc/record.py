"""Records gRPC between real libraries on loopback, as the chunks of both directions.

    pip install xai-sdk google-ai-generativelanguage google-cloud-aiplatform grpc-google-iam-v1
    python record.py xai xai.jsonl

The servers are grpcio's too, with made-up answers; the clients are xAI's and Google's own.
"""

import json
import socket
import sys
import threading
import time
from concurrent import futures

import grpc


class Relay:
    """Accepts connections, forwards them, and notes what was sent."""

    def __init__(self, target):
        self.chunks, self.lock, self.target = [], threading.Lock(), target
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        for number in range(1000):
            client, _ = self.listener.accept()
            server = socket.create_connection(("127.0.0.1", self.target))
            for source, sink, way in ((client, server, "sent"), (server, client, "received")):
                arguments = (source, sink, way, number)
                threading.Thread(target=self.copy, args=arguments, daemon=True).start()

    def copy(self, source, sink, way, number):
        while data := source.recv(16384):
            with self.lock:
                self.chunks.append({"connection": number, "dir": way, "data": data.hex()})
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)

    def save(self, path):
        time.sleep(0.3)
        with open(path, "w", encoding="ascii") as file:
            file.writelines(json.dumps(chunk) + "\n" for chunk in self.chunks)


def serve(add):
    server = grpc.server(futures.ThreadPoolExecutor(8))
    add(server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    relay = Relay(port)
    relay.server = server  # Which stops when nobody holds it.
    return relay


def attempt(call):
    try:
        call()
    except Exception as error:  # What it is shows in the recording.
        print(type(error).__name__)


def xai(path):
    import xai_sdk
    from xai_sdk.chat import user
    from xai_sdk.proto import chat_pb2 as c
    from xai_sdk.proto import chat_pb2_grpc as g
    from xai_sdk.proto import models_pb2 as m
    from xai_sdk.proto import models_pb2_grpc as mg
    from xai_sdk.proto import usage_pb2 as u

    usage = u.SamplingUsage(
        prompt_tokens=120,
        completion_tokens=30,
        reasoning_tokens=7,
        total_tokens=157,
        cached_prompt_text_tokens=64,
        prompt_text_tokens=120,
    )

    def tool(number, kind, name):
        call = c.FunctionCall(name=name, arguments='{"city":"Ulm"}')
        return c.ToolCall(id=f"call_{number}", type=kind, function=call)

    class Chat(g.ChatServicer):
        def GetCompletion(self, request, context):
            if request.model == "busy":
                context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many")
            tools = [
                tool(1, c.TOOL_CALL_TYPE_WEB_SEARCH_TOOL, "web_search"),
                tool(2, c.TOOL_CALL_TYPE_CLIENT_SIDE_TOOL, "get_weather"),
            ]
            message = c.CompletionMessage(content="A long answer. " * 120, tool_calls=tools)
            output = c.CompletionOutput(index=0, finish_reason=4, message=message)
            return c.GetChatCompletionResponse(
                id="resp-1", model="grok-4-0709", usage=usage, outputs=[output]
            )

        def GetCompletionChunk(self, request, context):
            def chunk(output, **more):
                return c.GetChatCompletionChunk(
                    id="resp-2", model="grok-4-0709", outputs=[output], **more
                )

            for number in range(20):
                yield chunk(c.CompletionOutputChunk(delta=c.Delta(content=f"word {number} ")))
                if number == 5 and request.model == "cut":
                    time.sleep(5)
                if number == 5 and request.model == "broken":
                    context.abort(grpc.StatusCode.UNAVAILABLE, "gone")
            yield chunk(c.CompletionOutputChunk(finish_reason=3), usage=usage)

    class Models(mg.ModelsServicer):
        def ListLanguageModels(self, request, context):
            return m.ListLanguageModelsResponse()

    def add(server):
        g.add_ChatServicer_to_server(Chat(), server)
        mg.add_ModelsServicer_to_server(Models(), server)

    relay = serve(add)
    client = xai_sdk.Client(
        api_key="xai-none",
        api_host=f"127.0.0.1:{relay.port}",
        use_insecure_channel=True,
        channel_options=[("grpc.default_authority", "api.x.ai"), ("grpc.enable_retries", 0)],
    )

    def chat(model):
        chat = client.chat.create(model=model)
        chat.append(user("What is the weather?"))
        return chat

    client.models.list_language_models()
    chat("grok-4").sample()
    list(chat("grok-4").stream())
    attempt(chat("busy").sample)
    attempt(lambda: list(chat("broken").stream()))
    stream = chat("cut").stream()
    for _ in range(3):
        next(stream)
    stream.close()
    del stream
    time.sleep(0.2)
    client.close()
    # Compressed messages, straight from the stub.
    channel = grpc.insecure_channel(
        f"127.0.0.1:{relay.port}",
        options=[("grpc.default_authority", "api.x.ai:443")],
        compression=grpc.Compression.Gzip,
    )
    stub = g.ChatStub(channel)
    prompt = c.Message(role=1, content=[c.Content(text="the same again " * 50)])
    request = c.GetCompletionsRequest(model="grok-4-gzip", messages=[prompt])
    stub.GetCompletion(request)
    list(stub.GetCompletionChunk(request))
    channel.close()
    relay.save(path)


def google(path, vertex):
    usage = {
        "prompt_token_count": 40,
        "candidates_token_count": 12,
        "thoughts_token_count": 5,
        "cached_content_token_count": 8,
    }
    if vertex:
        import google.cloud.aiplatform_v1 as t
        from google.cloud.aiplatform_v1.services.prediction_service import PredictionServiceClient as Client
        from google.cloud.aiplatform_v1.services.prediction_service.transports.grpc import (
            PredictionServiceGrpcTransport as Transport,
        )

        service = "google.cloud.aiplatform.v1.PredictionService"
        host = "europe-west4-aiplatform.googleapis.com"
        model = "projects/p/locations/europe-west4/publishers/google/models/gemini-2.5-flash"
        usage |= {"total_token_count": 57, "traffic_type": 1}
    else:
        from google.ai import generativelanguage_v1beta as t
        from google.ai.generativelanguage_v1beta.services.generative_service import (
            GenerativeServiceClient as Client,
        )
        from google.ai.generativelanguage_v1beta.services.generative_service.transports.grpc import (
            GenerativeServiceGrpcTransport as Transport,
        )

        service = "google.ai.generativelanguage.v1beta.GenerativeService"
        host = "generativelanguage.googleapis.com"
        model = "models/gemini-2.5-flash"
        usage |= {"total_token_count": 60, "tool_use_prompt_token_count": 3}

    def answer(text, last):
        parts, more, end = [t.Part(text=text)], {}, {}
        if last:
            call = t.FunctionCall(name="get_weather", args={"city": "Ulm"})
            parts.append(t.Part(function_call=call))
            more = {"usage_metadata": t.GenerateContentResponse.UsageMetadata(**usage)}
            end = {"finish_reason": t.Candidate.FinishReason.STOP}
        content = t.Content(role="model", parts=parts)
        return t.GenerateContentResponse(
            candidates=[t.Candidate(index=0, content=content, **end)],
            model_version="gemini-2.5-flash",
            response_id="id-7",
            **more,
        )

    def unary(request, context):
        if "busy" in request.model:
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "no")
        return answer("An answer. " * 100, True)

    def stream(_request, _context):
        for number in range(9):
            yield answer(f"words {number} ", False)
        yield answer("the end", True)

    codecs = (t.GenerateContentRequest.deserialize, t.GenerateContentResponse.serialize)
    handler = grpc.method_handlers_generic_handler(
        service,
        {
            "GenerateContent": grpc.unary_unary_rpc_method_handler(unary, *codecs),
            "StreamGenerateContent": grpc.unary_stream_rpc_method_handler(stream, *codecs),
        },
    )
    relay = serve(lambda server: server.add_generic_rpc_handlers((handler,)))
    options = [("grpc.default_authority", host)]
    channel = grpc.insecure_channel(f"127.0.0.1:{relay.port}", options=options)
    client = Client(transport=Transport(channel=channel))
    contents = [t.Content(role="user", parts=[t.Part(text="What is the weather?")])]

    def request(model):
        return t.GenerateContentRequest(model=model, contents=contents)

    client.generate_content(request=request(model))
    list(client.stream_generate_content(request=request(model)))
    attempt(lambda: client.generate_content(request=request(f"{model}-busy")))
    channel.close()
    relay.save(path)


match sys.argv[1]:
    case "xai":
        xai(sys.argv[2])
    case kind:
        google(sys.argv[2], kind == "vertex")
