"""TorchServe's gRPC service, as far as a client needs it: one call and its two messages.

The messages are built here from descriptors instead of by protoc, because generated modules are tied to the protobuf
version that made them, and TorchServe ships its .proto files only inside a jar. Names and numbers are those of the file
``inference.proto`` of TorchServe 0.12; the map of inputs is what protoc makes of ``map<string, bytes>``.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE = "org.pytorch.serve.grpc.inference"
MAX_MESSAGE = 134_217_728  # bytes, either way, as max_response_size in config.properties; gRPC's own limit is 4 MB
OPTIONS = [
    ("grpc.max_send_message_length", MAX_MESSAGE),
    ("grpc.max_receive_message_length", MAX_MESSAGE),
    ("grpc.enable_http_proxy", 0),
]
METHOD = f"/{PACKAGE}.InferenceAPIsService/Predictions"
_FIELD = descriptor_pb2.FieldDescriptorProto


def _messages() -> tuple[Any, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="genartisan/inference.proto", package=PACKAGE, syntax="proto3")
    request = file.message_type.add(name="PredictionsRequest")
    _add(request, "model_name", 1, _FIELD.TYPE_STRING)
    _add(request, "model_version", 2, _FIELD.TYPE_STRING)
    _add(request, "input", 3, _FIELD.TYPE_MESSAGE, repeated=True, type_name=f".{PACKAGE}.PredictionsRequest.InputEntry")
    entry = request.nested_type.add(name="InputEntry", options=descriptor_pb2.MessageOptions(map_entry=True))
    _add(entry, "key", 1, _FIELD.TYPE_STRING)
    _add(entry, "value", 2, _FIELD.TYPE_BYTES)
    response = file.message_type.add(name="PredictionResponse")
    _add(response, "prediction", 1, _FIELD.TYPE_BYTES)
    pool = descriptor_pool.DescriptorPool()  # our own: the default one may hold TorchServe's generated file already
    pool.Add(file)
    names = (f"{PACKAGE}.PredictionsRequest", f"{PACKAGE}.PredictionResponse")
    first, second = (message_factory.GetMessageClass(pool.FindMessageTypeByName(name)) for name in names)
    return first, second


def _add(message: Any, name: str, number: int, kind: Any, repeated: bool = False, type_name: str | None = None) -> None:
    label = _FIELD.LABEL_REPEATED if repeated else _FIELD.LABEL_OPTIONAL
    message.field.add(name=name, number=number, type=kind, label=label, type_name=type_name)


PredictionsRequest, PredictionResponse = _messages()


def encode_request(model: str, fields: dict[str, bytes]) -> bytes:
    """A `PredictionsRequest` on the wire."""
    content: bytes = PredictionsRequest(model_name=model, input=fields).SerializeToString()
    return content


def decode_response(content: bytes) -> bytes:
    """The prediction in a `PredictionResponse`."""
    prediction: bytes = PredictionResponse.FromString(content).prediction
    return prediction
