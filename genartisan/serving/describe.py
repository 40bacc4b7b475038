"""The versions and workers of a server, from its management API over gRPC.

Over HTTP TorchServe would count and log every poll as a request. Over gRPC it counts nothing, and handlers/log4j2.xml
keeps this call out of the log. The messages are those of its ``management.proto``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from genartisan.errors import ServeError
from genartisan.serving.access import Access
from genartisan.serving.defaults import HOST, MODEL
from genartisan.serving.replies import from_rpc
from genartisan.serving.state import Server

PACKAGE = "org.pytorch.serve.grpc.management"
SERVICE = f"{PACKAGE}.ManagementAPIsService"
METHOD = f"/{SERVICE}/DescribeModel"
REPLY_WITHIN = 10.0  # seconds for a reply
POLL = 0.2  # seconds between polls
OPTIONS = [
    ("grpc.enable_http_proxy", 0),
    # UNKNOWN is what becomes of TorchServe's ConcurrentModificationException (`genartisan.serving.management`).
    (
        "grpc.service_config",
        json.dumps({
            "methodConfig": [{
                "name": [{"service": SERVICE}],
                "retryPolicy": {
                    "maxAttempts": 5, "initialBackoff": "0.1s", "maxBackoff": "1s", "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNKNOWN"],
                },
            }]
        }),
    ),
]  # fmt: skip


def _messages() -> tuple[Any, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="genartisan/management.proto", package=PACKAGE, syntax="proto3")
    kind = descriptor_pb2.FieldDescriptorProto.TYPE_STRING
    for message, fields in {
        "DescribeModelRequest": ("model_name", "model_version"),
        "ManagementResponse": ("msg",),
    }.items():
        added = file.message_type.add(name=message)
        for number, name in enumerate(fields, start=1):
            added.field.add(name=name, number=number, type=kind)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    names = (f"{PACKAGE}.DescribeModelRequest", f"{PACKAGE}.ManagementResponse")
    first, second = (message_factory.GetMessageClass(pool.FindMessageTypeByName(name)) for name in names)
    return first, second


DescribeModelRequest, ManagementResponse = _messages()


def access_of(server: Server) -> Access:
    """The server's keys; none if it requires none."""
    return Access(file=Path(server.keys)) if Path(server.keys).is_file() else Access()


def describe(server: Server, version: str = "", model: str = MODEL) -> list[dict[str, Any]]:
    """Descriptions of one version of a model, the default one, or ``all``; empty if there is none.

    Raises:
        ServeError: the server does not answer.
        AccessError: the server rejects our key.
    """
    import grpc

    address = f"{HOST}:{server.ports.grpc_management}"
    content = DescribeModelRequest(model_name=model, model_version=version).SerializeToString()
    with (
        access_of(server).headers("management") as key,
        grpc.insecure_channel(address, options=OPTIONS) as channel,
    ):
        try:
            answer = channel.unary_unary(METHOD)(content, timeout=REPLY_WITHIN, metadata=list(key.items()))
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return []
            raise from_rpc(error.code().name, error.details() or "", address, REPLY_WITHIN) from None
    described: list[dict[str, Any]] = json.loads(ManagementResponse.FromString(answer).msg)
    return described


def describe_all(server: Server) -> list[dict[str, Any]]:
    """Descriptions of all versions of the models that serve the archives; errors as in `describe`."""
    return [version for model in server.models for version in describe(server, "all", model)]


def workers(server: Server, model: str = MODEL) -> list[dict[str, Any]]:
    """The workers of a model's default version; none while the server does not answer."""
    try:
        described = describe(server, model=model)
    except ServeError:
        return []
    return list(described[0]["workers"]) if described else []


def is_ready(server: Server, model: str = MODEL) -> bool:
    """Whether a worker of a model's default version is READY."""
    return any(worker["status"] == "READY" for worker in workers(server, model))
