"""Runs a pod of one container by the Container Runtime Interface, as the kubelet would.

pod.py SOCKET DESCRIPTION: the description is JSON with `name`, `namespace`, `uid`, `cgroup`, `labels`,
`container`, `image` and `command`. Prints the container's id, and ends when the container has.
"""

import json
import sys
import time

import grpc


def varint(number):
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def message(fields):
    """Protocol Buffers of fields by their numbers: texts, numbers, messages, lists of these, maps."""
    out = b""
    for number, value in fields.items():
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, int):
                out += varint(number << 3) + varint(item)
            else:
                item = message(item) if isinstance(item, dict) else item.encode()
                out += varint(number << 3 | 2) + varint(len(item)) + item
    return out


def pairs(labels):
    return [{1: label, 2: value} for label, value in labels.items()]


def call(method, fields):
    path = f"/runtime.v1.RuntimeService/{method}"
    return channel.unary_unary(path, request_serializer=message)(fields, timeout=60)


def id_of(answer):
    """The first field, which is a text."""
    return answer[2 : 2 + answer[1]].decode()


# Field numbers: cri-api/pkg/apis/runtime/v1/api.proto.
channel = grpc.insecure_channel("unix:" + sys.argv[1])
pod = json.loads(sys.argv[2])
kubelet = {f"io.kubernetes.pod.{field}": pod[field] for field in ("name", "namespace", "uid")}
HOST, CONTAINER = 2, 1
namespaces = {1: HOST, 2: CONTAINER, 3: HOST}  # network, pid, ipc
sandbox = {
    1: {1: pod["name"], 2: pod["uid"], 3: pod["namespace"]},
    6: pairs(pod["labels"] | kubelet),
    8: {1: pod["cgroup"], 2: {1: namespaces}},
}
container = {
    1: {1: pod["container"]},
    2: {1: pod["image"]},
    3: pod["command"],
    9: pairs({"io.kubernetes.container.name": pod["container"]} | kubelet),
    15: {2: {3: namespaces}},
}
sandbox_id = id_of(call("RunPodSandbox", {1: sandbox}))
try:
    container_id = id_of(call("CreateContainer", {1: sandbox_id, 2: container, 3: sandbox}))
    print(container_id, flush=True)
    call("StartContainer", {1: container_id})
    # What ListContainers answers to a filter by the state "exited" (2) is empty until it is.
    deadline = time.monotonic() + 60
    while not call("ListContainers", {1: {1: container_id, 2: {1: 2}}}):
        assert time.monotonic() < deadline, "the container goes on"
        time.sleep(0.1)
finally:
    call("StopPodSandbox", {1: sandbox_id})
    call("RemovePodSandbox", {1: sandbox_id})
