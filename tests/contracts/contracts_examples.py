"""The examples of docs/spec/contracts.md, made from the artifacts. Run this file to write them into the page."""

from __future__ import annotations

import base64
import re
import sys
from pathlib import Path

from support.contracts_kit import Gateway, Kind, artifact, ed25519_key, id_hash
from web3 import Web3
from web3.contract import Contract

PAGE = Path(__file__).resolve().parents[2] / "docs" / "spec" / "contracts.md"
ACCOUNT = "0x90F79bf6EB2c4f870365E785982E1f101E93b906"
GATEWAY = Gateway("gw-1", ACCOUNT)
DEVICE = ("urn:dev:mac:0024befffe804ff1", "plant", 1, ed25519_key(1))
ROOT = base64.b64decode("EeAr2ZA1nsPIIIh9l4B2iaSPb1MblhcXpb5Hg6uFxXU=")  # the root in docs/spec/checkpoint.md
NAMES = ["IdentityRegistry", "AnchorLog"]
INHERITED = {"getRoleAdmin", "hasRole", "grantRole", "revokeRole", "renounceRole", "supportsInterface"}


def contract(name: str) -> Contract:
    return Web3().eth.contract(abi=artifact(name)["abi"])


def type_of(value: dict[str, object]) -> str:
    """The canonical type of a parameter, tuples written out (the ABI specification's signature form)."""
    kind = str(value["type"])
    if not kind.startswith("tuple"):
        return kind
    return f"({','.join(type_of(part) for part in value['components'])}){kind.removeprefix('tuple')}"


def lines_of(kind: str, name: str) -> list[str]:
    """Every function, event or error of a contract: its selector or topic, and its signature."""
    lines = []
    for entry in artifact(name)["abi"]:
        if entry["type"] != kind:
            continue
        bare = f"{entry['name']}({','.join(type_of(value) for value in entry['inputs'])})"
        digest = Web3.to_hex(Web3.keccak(text=bare))
        shown = digest if kind == "event" else digest[:10]
        returned = ",".join(type_of(value) for value in entry.get("outputs", []))
        lines.append(f"{shown} {bare}{f' → {returned}' if returned else ''}")
    return lines


def names() -> str:
    fleet_hash = Web3.keccak(text=DEVICE[1])
    codec = Web3().codec
    device_words = [Kind.DEVICE, id_hash(DEVICE[0]), fleet_hash, DEVICE[2], Web3.keccak(DEVICE[3])]
    device = Web3.keccak(codec.encode(["uint8", "bytes32", "bytes32", "uint8", "bytes32"], device_words))
    miner_words = [Kind.MINER, id_hash("gw-1"), fleet_hash, GATEWAY.log_key, Web3.keccak(GATEWAY.hpke_key), ACCOUNT]
    types = ["uint8", "bytes32", "bytes32", "bytes32", "bytes32", "address"]
    miner = Web3.keccak(codec.encode(types, miner_words))
    rows = [
        ("device id", DEVICE[0]),
        ("  key", f"Ed25519 {Web3.to_hex(DEVICE[3])}"),
        ("  id hash", Web3.to_hex(id_hash(DEVICE[0]))),
        ("  commitment", Web3.to_hex(device[:30])),
        ("gateway id", "gw-1"),
        ("  log key", Web3.to_hex(GATEWAY.log_key)),
        ("  HPKE key", Web3.to_hex(GATEWAY.hpke_key)),
        ("  account", ACCOUNT),
        ("  id hash", Web3.to_hex(id_hash("gw-1"))),
        ("  origin", "securenet/plant/gw-1"),
        ("  log id", Web3.to_hex(GATEWAY.log_id)),
        ("  commitment", Web3.to_hex(miner[:30])),
    ]
    return "\n".join(f"{label:14}{value}" for label, value in rows)


def anchor_call() -> str:
    data = contract("AnchorLog").encode_abi("anchor", args=[GATEWAY.log_id, 3, ROOT])
    words = [data[10 + 64 * at : 74 + 64 * at] for at in range(3)]
    return "\n".join([data[:10], *words])


def examples() -> dict[str, str]:
    made = {"names": names(), "anchor": anchor_call()}
    for name in NAMES:
        functions = [line for line in lines_of("function", name) if line.split(" ")[1].split("(")[0] not in INHERITED]
        made[f"{name}-functions"] = "\n".join(functions)
        made[f"{name}-events"] = "\n".join(lines_of("event", name))
        made[f"{name}-errors"] = "\n".join(lines_of("error", name))
    return made


def blocks(page: str) -> dict[str, str]:
    return dict(re.findall(r"^```text example (\S+)\n(.*?)\n?^```$", page, re.DOTALL | re.MULTILINE))


def main() -> None:
    page = PAGE.read_text()
    for name, text in examples().items():
        pattern = re.compile(rf"^(```text example {re.escape(name)}\n).*?(^```$)", re.DOTALL | re.MULTILINE)
        page = pattern.sub(lambda found, text=text: f"{found[1]}{text}\n{found[2]}", page)
    PAGE.write_text(page)


if __name__ == "__main__":
    sys.exit(main())
