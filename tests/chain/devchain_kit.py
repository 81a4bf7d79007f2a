"""A client that speaks raw JSON-RPC, and transactions signed with the development chain's public keys."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from eth_account import Account
from web3 import AsyncHTTPProvider, AsyncWeb3

from gateway.chain.devchain import DevAccount, DevChain, DevChainOptions

ARTIFACTS = Path(__file__).resolve().parents[2] / "gateway" / "chain" / "artifacts"
GWEI = 10**9
LAZY = DevChainOptions(block_time_s=3600)
"""Blocks come when a test asks for them."""


class RpcFault(Exception):
    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(f"{error['code']}: {error['message']}")
        self.code = error["code"]
        self.message = error["message"]
        self.data = error.get("data")


class Client:
    """One chain and a session to it."""

    def __init__(self, chain: DevChain, session: aiohttp.ClientSession) -> None:
        self.chain = chain
        self.session = session

    @property
    def accounts(self) -> tuple[DevAccount, ...]:
        return self.chain.accounts

    async def post(self, body: bytes | io.BytesIO, **headers: str) -> tuple[int, Any]:
        said = {"Content-Type": "application/json"} | {name.replace("_", "-"): text for name, text in headers.items()}
        async with self.session.post(self.chain.url, data=body, headers=said) as response:
            text = await response.text()
            return response.status, json.loads(text) if text else None

    async def ask(self, method: str, *params: Any) -> Any:
        body = json.dumps({"jsonrpc": "2.0", "id": 7, "method": method, "params": params})
        status, said = await self.post(body.encode())
        assert (status, said["jsonrpc"], said["id"]) == (200, "2.0", 7)
        if "error" in said:
            raise RpcFault(said["error"])
        return said["result"]

    async def number(self, method: str, *params: Any) -> int:
        return int(await self.ask(method, *params), 16)

    async def send(self, **fields: Any) -> str:
        return await self.ask("eth_sendRawTransaction", signed(self, **fields))


def signed(client: Client, sender: int = 0, **fields: Any) -> str:
    here = {"to": client.accounts[9].address, "chainId": client.chain.chain_id}
    return signed_by(client.accounts[sender], here | fields)


def signed_by(account: DevAccount, fields: dict[str, Any]) -> str:
    """A raw transaction: EIP-1559 unless a gas price is given."""
    filled: dict[str, Any] = {"value": 1, "gas": 30_000 if "accessList" in fields else 21_000}
    if "gasPrice" not in fields:
        filled |= {"maxFeePerGas": 3 * GWEI, "maxPriorityFeePerGas": GWEI}
    return Account.sign_transaction(filled | fields, account.private_key).raw_transaction.to_0x_hex()


@asynccontextmanager
async def running(options: DevChainOptions | None = None) -> AsyncIterator[Client]:
    async with DevChain(options) as chain, aiohttp.ClientSession() as session:
        yield Client(chain, session)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[AsyncWeb3]:
    web3 = AsyncWeb3(AsyncHTTPProvider(url))
    try:
        yield web3
    finally:
        await web3.provider.disconnect()


def artifact(name: str) -> dict[str, Any]:
    return json.loads((ARTIFACTS / f"{name}.json").read_text())


def ed25519_key(number: int) -> bytes:
    private = ed25519.Ed25519PrivateKey.from_private_bytes(number.to_bytes(32, "big"))
    return private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
