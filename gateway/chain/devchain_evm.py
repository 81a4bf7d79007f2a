"""The chain of the development chain: blocks, state and execution, by py-evm through eth-tester's backend.

Importing this room takes a second and raises the interpreter's recursion limit (py-evm does): only where a
development chain is started. One thread at a time. Time is an argument.

eth-tester's own front is not used: it knows no pool of transactions, no finality, and loses the data of a revert
(docs/adr/0100).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple, cast

from eth.abc import BlockAPI, BlockHeaderAPI, ReceiptAPI, SignedTransactionAPI, StateAPI
from eth.constants import UINT_64_MAX
from eth.exceptions import OutOfGas, PyEVMError, Revert
from eth.vm.forks.prague import PragueVM
from eth.vm.spoof import SpoofTransaction
from eth_keys.exceptions import BadSignature
from eth_tester import PyEVMBackend  # type: ignore[import-untyped]
from eth_typing import Address
from eth_utils.exceptions import ValidationError
from rlp.exceptions import RLPException  # type: ignore[import-untyped]

from gateway.chain.devchain_pool import Account, Waiting
from gateway.chain.devchain_values import CallRequest

MNEMONIC: Final = "test test test test test test test test test test test junk"
HD_PATH: Final = "m/44'/60'/0'/0"
BALANCE_WEI: Final = 10_000 * 10**18
TX_MAX_BYTES: Final = 128 * 1024
_TYPES: Final = frozenset({0, 1, 2})
_INITCODE_MAX_BYTES: Final = 49_152
_FLOOR_BASE, _FLOOR_PER_BYTE, _FLOOR_PER_ZERO = 21_000, 40, 10  # EIP-7623
_STIPEND: Final = 2_300
_ESTIMATE_SLACK_PERCENT: Final = 2


class TxRefused(Exception):
    """Bytes that are no transaction that this chain takes, whatever its state; the message is geth's."""


class CallFailed(Exception):
    """A call ended without a result; the message is geth's."""


class CallRevertedError(CallFailed):
    """A call was reverted by the contract, which said ``data``."""

    def __init__(self, data: bytes) -> None:
        super().__init__("execution reverted")
        self.data = data


class LogEntry(NamedTuple):
    """An event, and where it stands."""

    address: bytes
    topics: tuple[bytes, ...]
    data: bytes
    block_number: int
    block_hash: bytes
    transaction_hash: bytes
    transaction_index: int
    log_index: int


class Mined(NamedTuple):
    """A block, and what its transactions left."""

    block: BlockAPI
    receipts: tuple[ReceiptAPI, ...]
    logs: tuple[LogEntry, ...]

    @property
    def header(self) -> BlockHeaderAPI:
        """The block's header."""
        return self.block.header


class DevVM(PragueVM):
    """The newest rules that py-evm has; only that blocks of the same second are let through.

    A block every 100 ms would otherwise let the chain's clock run ten times too fast.
    """

    @classmethod
    def validate_header(cls, header: BlockHeaderAPI, parent_header: BlockHeaderAPI) -> None:
        """As the rules say, with the time of the parent allowed once more."""
        if header.timestamp == parent_header.timestamp:
            header = header.copy(timestamp=header.timestamp + 1)
        super().validate_header(header, parent_header)


class Evm:
    """The canonical chain, from the genesis on, in memory."""

    def __init__(self, chain_id: int, accounts: int, gas_limit: int, genesis_s: int) -> None:
        self.chain_id = chain_id
        self._backend: Any = PyEVMBackend.from_mnemonic(
            MNEMONIC,
            num_accounts=accounts,
            hd_path=HD_PATH,
            genesis_state_overrides={"balance": BALANCE_WEI},
            genesis_parameters=PyEVMBackend.generate_genesis_params({"gas_limit": gas_limit, "timestamp": genesis_s}),
            vm_configuration=((0, DevVM),),
        )
        self._chain: Any = self._backend.chain
        type(self._chain).chain_id = chain_id  # eth-tester makes a class for each chain
        genesis = self._chain.get_canonical_block_by_number(0)
        self._blocks: list[Mined] = [Mined(genesis, (), ())]
        self._numbers: dict[bytes, int] = {genesis.hash: 0}
        self._places: dict[bytes, tuple[int, int]] = {}

    def accounts(self) -> list[tuple[str, bytes]]:
        """The funded accounts: addresses, and keys that the whole world has."""
        return [(key.public_key.to_checksum_address(), key.to_bytes()) for key in self._backend.account_keys]

    @property
    def head(self) -> Mined:
        """The newest block."""
        return self._blocks[-1]

    @property
    def next_header(self) -> BlockHeaderAPI:
        """The header of the block to come, as far as it is known: number, base fee, limit."""
        header: BlockHeaderAPI = self._chain.header
        return header

    def by_number(self, number: int) -> Mined | None:
        """The block of this height."""
        return self._blocks[number] if 0 <= number < len(self._blocks) else None

    def blocks(self, start: int, end: int) -> list[Mined]:
        """The blocks of these heights, both included, as far as they exist."""
        return self._blocks[start : end + 1]

    def by_hash(self, block_hash: bytes) -> Mined | None:
        """The block of this hash, if it is still part of the chain."""
        number = self._numbers.get(block_hash)
        return None if number is None else self._blocks[number]

    def place(self, tx_hash: bytes) -> tuple[Mined, int] | None:
        """Where a transaction stands: its block, and its index in it."""
        found = self._places.get(tx_hash)
        return None if found is None else (self._blocks[found[0]], found[1])

    def state(self, header: BlockHeaderAPI) -> StateAPI:
        """The accounts after the block of this header; gas costs nothing there, and nothing done to it lasts."""
        state: StateAPI = self._chain.get_vm(header.copy(base_fee_per_gas=0)).state
        return state

    def account(self, address: bytes) -> Account:
        """An account after the newest block."""
        state = self.state(self.head.header)
        return Account(state.get_nonce(Address(address)), state.get_balance(Address(address)))

    def decode(self, raw: bytes) -> Waiting:
        """Check a signed transaction as far as that needs no account.

        Raises:
            TxRefused: it can never be part of this chain.
        """
        if len(raw) > TX_MAX_BYTES:
            raise TxRefused(f"oversized data: transaction size {len(raw)}, limit {TX_MAX_BYTES}")
        try:
            tx: SignedTransactionAPI = self._chain.get_transaction_builder().decode(raw)
        except (RLPException, TypeError):  # rlp meets a list where a number should be with a TypeError
            raise TxRefused("rlp: the transaction cannot be decoded") from None
        except (PyEVMError, ValidationError) as error:
            raise TxRefused(f"invalid transaction: {type(error).__name__}") from None
        if (getattr(tx, "type_id", None) or 0) not in _TYPES:
            raise TxRefused("transaction type not supported")
        self._check_limits(tx)
        sender = self._check_signer(tx)
        return Waiting(
            hash=tx.hash,
            sender=sender,
            nonce=tx.nonce,
            gas=tx.gas,
            value=tx.value,
            max_fee=tx.max_fee_per_gas,
            tip=tx.max_priority_fee_per_gas,
            payload=tx,
        )

    def mine(self, chosen: Iterable[Waiting], now_s: int) -> list[Waiting]:
        """Make the next block of these transactions; returns the ones that could not be executed after all."""
        self._chain.set_header_timestamp(max(now_s, self.head.header.timestamp))
        failed = []
        for entry in chosen:
            try:
                self._chain.apply_transaction(entry.payload)
            except ValidationError:
                failed.append(entry)
        (block_hash,) = self._backend.mine_blocks(1)
        block: BlockAPI = self._chain.get_block_by_hash(block_hash)
        self._append(block, tuple(block.get_receipts(self._chain.chaindb)))
        return failed

    def rewind(self, number: int) -> None:
        """Forget every block above this height."""
        for mined in self._blocks[number + 1 :]:
            del self._numbers[mined.block.hash]
            for tx in mined.block.transactions:
                del self._places[tx.hash]
        del self._blocks[number + 1 :]
        self._chain.header = self._chain.create_header_from_parent(self.head.header)

    def call(self, request: CallRequest, header: BlockHeaderAPI) -> bytes:
        """Execute without a transaction, after the block of this header.

        Raises:
            CallFailed: it has no result.
        """
        self._check_funds(request, header)
        gas = header.gas_limit if request.gas is None else min(request.gas, header.gas_limit)
        computation = self._execute(request, header, gas)
        if computation.is_error:
            raise _failure(computation)
        return bytes(computation.output)

    def estimate(self, request: CallRequest, header: BlockHeaderAPI) -> int:
        """Gas with which the transaction succeeds, a few per cent above the least.

        Raises:
            CallFailed: no gas is enough.
        """
        self._check_funds(request, header)
        most = header.gas_limit if request.gas is None else min(request.gas, header.gas_limit)
        if request.fee:
            left = self.state(header).get_balance(Address(request.sender)) - request.value
            most = min(most, left // request.fee)
        try:
            computation = self._execute(request, header, most)
        except CallFailed:
            raise CallFailed(f"gas required exceeds allowance ({most})") from None
        if computation.is_error:
            if isinstance(computation.error, OutOfGas):
                raise CallFailed(f"gas required exceeds allowance ({most})")
            raise _failure(computation)
        used: int = max(most - computation.get_gas_remaining(), _floor_gas(request.data))
        if self._succeeds(request, header, used):
            return used
        # A call inside may be handed 63/64 of the gas at most, so that what was used may not be enough.
        least, guess = used, (used + _STIPEND) * 64 // 63
        while (most - least) * 100 > most * _ESTIMATE_SLACK_PERCENT:
            guess = min(guess, most - 1)
            if self._succeeds(request, header, guess):
                most = guess
            else:
                least = guess
            guess = (most + least) // 2
        return most

    def _succeeds(self, request: CallRequest, header: BlockHeaderAPI, gas: int) -> bool:
        try:
            return not self._execute(request, header, gas).is_error
        except CallFailed:
            return False

    def _execute(self, request: CallRequest, header: BlockHeaderAPI, gas: int) -> Any:  # noqa: ANN401 -- py-evm's
        state = self.state(header)
        bare = self._chain.create_unsigned_transaction(
            nonce=state.get_nonce(Address(request.sender)),
            gas_price=0,
            gas=gas,
            to=request.to,
            value=request.value,
            data=request.data,
        )
        spoofed = SpoofTransaction(bare, from_=request.sender)
        try:
            return state.apply_transaction(cast(SignedTransactionAPI, spoofed))
        except ValidationError:
            raise CallFailed(f"intrinsic gas too low: gas {gas}, minimum needed {bare.intrinsic_gas}") from None

    def _check_funds(self, request: CallRequest, header: BlockHeaderAPI) -> None:
        if request.fee and header.base_fee_per_gas and request.fee < header.base_fee_per_gas:
            raise CallFailed(
                f"max fee per gas less than block base fee: address 0x{request.sender.hex()}, "
                f"maxFeePerGas: {request.fee}, baseFee: {header.base_fee_per_gas}"
            )
        needed = request.value + (request.gas or 0) * (request.fee or 0)
        balance = self.state(header).get_balance(Address(request.sender))
        if needed > balance:
            raise CallFailed(
                f"insufficient funds for gas * price + value: address 0x{request.sender.hex()} "
                f"have {balance} want {needed}"
            )

    def _check_limits(self, tx: SignedTransactionAPI) -> None:
        if tx.gas > self.head.header.gas_limit:
            raise TxRefused("exceeds block gas limit")
        if tx.max_priority_fee_per_gas > tx.max_fee_per_gas:
            raise TxRefused("max priority fee per gas higher than max fee per gas")
        if tx.nonce >= UINT_64_MAX:
            raise TxRefused("nonce has max value")
        if not tx.to and len(tx.data) > _INITCODE_MAX_BYTES:
            raise TxRefused(f"max initcode size exceeded: code size {len(tx.data)}, limit {_INITCODE_MAX_BYTES}")
        if tx.gas < tx.intrinsic_gas:
            raise TxRefused(f"intrinsic gas too low: gas {tx.gas}, minimum needed {tx.intrinsic_gas}")
        floor = _floor_gas(tx.data)
        if tx.gas < floor:
            raise TxRefused(f"insufficient gas for floor data gas cost: gas {tx.gas}, minimum needed {floor}")

    def _check_signer(self, tx: SignedTransactionAPI) -> bytes:
        if tx.chain_id is None:
            raise TxRefused("only replay-protected (EIP-155) transactions allowed over RPC")
        if tx.chain_id != self.chain_id:
            raise TxRefused(f"invalid sender: invalid chain id for signer: have {tx.chain_id} want {self.chain_id}")
        try:
            tx.validate()
            sender: bytes = tx.sender
        except (ValidationError, BadSignature):
            raise TxRefused("invalid sender") from None
        return sender

    def _append(self, block: BlockAPI, receipts: tuple[ReceiptAPI, ...]) -> None:
        number = block.number
        logs: list[LogEntry] = []
        for index, (tx, receipt) in enumerate(zip(block.transactions, receipts, strict=True)):
            self._places[tx.hash] = (number, index)
            for log in receipt.logs:
                topics = tuple(topic.to_bytes(32, "big") for topic in log.topics)
                logs.append(
                    LogEntry(log.address, topics, log.data, number, block.hash, tx.hash, index, log_index=len(logs))
                )
        self._numbers[block.hash] = number
        self._blocks.append(Mined(block, receipts, tuple(logs)))


def _floor_gas(data: bytes) -> int:
    zeros = data.count(0)
    return _FLOOR_BASE + _FLOOR_PER_ZERO * zeros + _FLOOR_PER_BYTE * (len(data) - zeros)


def _failure(computation: Any) -> CallFailed:  # noqa: ANN401 -- py-evm's
    error = computation.error
    if isinstance(error, Revert):
        return CallRevertedError(bytes(computation.output))
    if isinstance(error, OutOfGas):
        return CallFailed("out of gas")
    return CallFailed(f"execution failed: {type(error).__name__}")
