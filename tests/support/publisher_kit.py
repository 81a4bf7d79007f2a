"""Models to publish, made of the schema's own classes: small ones, with their spec, card and signature."""

import hashlib
import json
import math
from pathlib import Path

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from gateway.crypto.keys import parse_public_key
from gateway.detection.spec import Column, InputSpec, ModelSpec, OutputKind, OutputSpec, SmokeTest
from gateway.message import Alg
from gateway.training.card import Card, Figure, Training, record
from gateway.training.export import spec_json
from gateway.vault.authority_words import WrappedKey
from gateway.vault.publisher import Signing
from gateway.vault.publisher_check import ModelFiles
from gateway.vault.publisher_record import sign_record
from gateway.vault.wrap import parse_recipient, wrap_for

TRAINER = Ed25519PrivateKey.from_private_bytes(b"\x71" * 32)
PUBLISHER = Ed25519PrivateKey.from_private_bytes((800).to_bytes(32, "big"))
TRAINER_KEY = parse_public_key(Alg.ED25519, TRAINER.public_key().public_bytes_raw())
PUBLISHER_KEY = parse_public_key(Alg.ED25519, PUBLISHER.public_key().public_bytes_raw())
SIGNING = Signing(PUBLISHER_KEY, PUBLISHER.sign)
GATEWAY_KEY = X25519PrivateKey.from_private_bytes(b"\x72" * 32)
RECIPIENT = parse_recipient(GATEWAY_KEY.public_key().public_bytes_raw())
MODEL_ID, VERSION, GATEWAY = "pump", 3, "gw-1"
DATA_KEY = b"\x73" * 32

WEIGHTS, BIAS = (0.5, -0.25, 1.0, 2.0), 0.125
ROW = (1.0, 2.0, -1.0, 0.5)
ANSWER = 1 / (1 + math.exp(-(sum(w * x for w, x in zip(WEIGHTS, ROW, strict=True)) + BIAS)))
OPERATORS = schema.BuiltinOperator


def spec_of(**smoke):
    columns = tuple(Column(name, missing=0.0, low=-9.0, high=9.0) for name in ("a", "b", "c", "d"))
    test = {"inputs": ROW, "expected": (ANSWER,), "tolerance": 1e-4} | smoke
    return ModelSpec(
        InputSpec(columns, None, 1, (4,)), OutputSpec(OutputKind.PROBABILITY, 0.5, ()), SmokeTest(**test)
    )


def tensor(name, shape, buffer=0, signature=None):
    made = schema.TensorT()
    made.name, made.shape, made.buffer, made.shapeSignature = name, list(shape), buffer, signature
    made.type = schema.TensorType.FLOAT32
    return made


def operator(index, inputs, outputs, kind=schema.BuiltinOptions.NONE, options=None):
    made = schema.OperatorT()
    made.opcodeIndex, made.inputs, made.outputs = index, list(inputs), list(outputs)
    made.builtinOptionsType, made.builtinOptions = kind, options
    return made


def code(number, custom=None):
    made = schema.OperatorCodeT()
    made.deprecatedBuiltinCode, made.builtinCode, made.customCode = min(number, 127), number, custom
    made.version = 1
    return made


def buffer(numbers=None):
    made = schema.BufferT()
    made.data = None if numbers is None else np.array(numbers, np.float32).view(np.uint8)
    return made


def parts():
    """A logistic regression of four numbers, as objects that a test may change before ``packed``."""
    graph = schema.SubGraphT()
    graph.name = "main"
    graph.tensors = [
        tensor("inputs", (1, 4), signature=[-1, 4]),
        tensor("weights", (1, 4), 1),
        tensor("bias", (1,), 2),
        tensor("sum", (1, 1), signature=[-1, 1]),
        tensor("scores", (1, 1), signature=[-1, 1]),
    ]
    graph.inputs, graph.outputs = [0], [4]
    options = schema.FullyConnectedOptionsT()
    graph.operators = [
        operator(0, [0, 1, 2], [3], schema.BuiltinOptions.FullyConnectedOptions, options),
        operator(1, [3], [4]),
    ]
    model = schema.ModelT()
    model.version, model.description = 3, "made by hand"
    model.operatorCodes = [code(OPERATORS.FULLY_CONNECTED), code(OPERATORS.LOGISTIC)]
    model.subgraphs = [graph]
    model.buffers = [buffer(), buffer(WEIGHTS), buffer([BIAS])]
    return model


def packed(model):
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def card_of(data, spec, model_id=MODEL_ID, version=VERSION):
    card = Card(
        model_id,
        version,
        "A test",
        "For tests.",
        Training("four numbers", "made up", "CC0", "nobody", hashlib.sha256(b"four numbers").hexdigest()),
        1,
        "none",
        [Figure("one row", "Looked at.", {"accuracy": 1.0, "false_alarms": 0.0})],
        ["Everything."],
    )
    return record(card, data, spec).encode()


def write_model(folder, data=None, spec=None, *, card=None, signed=True, model_id=MODEL_ID, version=VERSION):
    """The files of a model, as training writes them, and the signature beside the card."""
    folder = Path(folder)
    data, spec = packed(parts()) if data is None else data, spec or spec_of()
    card = card_of(data, spec, model_id, version) if card is None else card
    files = ModelFiles(folder / "m.tflite", folder / "m.spec.json", folder / "m.card.json", TRAINER_KEY)
    files.model.write_bytes(data)
    files.spec.write_text(spec_json(spec))
    files.card.write_bytes(card)
    if signed:
        files.signature.write_bytes(sign_record(card, TRAINER.sign))
    return files


def altered(card, /, **members):
    """The card with other members."""
    return json.dumps(json.loads(card) | members, indent=1).encode()


class Keys:
    """The key authority's part, with its cryptography: one data key a version, wrapped for who holds a grant."""

    def __init__(self, recipients=None):
        self.recipients = {GATEWAY: RECIPIENT} if recipients is None else recipients
        self.asked = []

    def data_key(self, model_id, version):
        self.asked.append("data-key")
        return hashlib.sha256(DATA_KEY + f"{model_id}/{version}".encode()).digest()

    def wraps(self, model_id, version, ciphertext_sha256):
        self.asked.append("wraps")
        key = hashlib.sha256(DATA_KEY + f"{model_id}/{version}".encode()).digest()
        found = wrap_for(self.recipients, key, model_id, version, ciphertext_sha256)
        return tuple(WrappedKey(name, each) for name, each in found.items())
