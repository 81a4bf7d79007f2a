"""What a transaction of ours came to, once it is in a block: whether it did what it was for, and if not, why."""

from __future__ import annotations

from gateway.anchor.lifecycle import State
from gateway.anchor.transaction import Target, report_call
from gateway.chain.contracts import anchor_call
from gateway.chain.events import Anchored, decode_log
from gateway.chain.port import CallReverted, TxReceipt, View
from gateway.chain.refusals import explain
from gateway.journal import AccessRow, AnchorRow


class AnchorOutcome:
    """Whether a transaction anchored its checkpoint."""

    def __init__(self, target: Target) -> None:
        self._target = target

    async def __call__(self, view: View, row: AnchorRow, receipt: TxReceipt) -> tuple[bool, str]:
        """Read it from the events of the receipt.

        Raises:
            EndpointFault: as from the view.
        """
        if not receipt.succeeded:
            call = anchor_call(self._target.log_id, row.size, row.root)
            return False, await _why_reverted(view, row, receipt, call)
        for record in receipt.logs:
            if record.address == self._target.contract:
                event = decode_log(record)
                if event.log_id != self._target.log_id:
                    continue
                if isinstance(event, Anchored) and (event.size, event.root) == (row.size, row.root):
                    return True, ""
                return False, "the chain had another root of this size: the log is frozen"
        return False, "the chain had this very head already"


async def report_outcome(view: View, row: AccessRow, receipt: TxReceipt) -> tuple[bool, str]:
    """Whether a report was taken: the contract takes it whole or reverts.

    Raises:
        EndpointFault: as from the view.
    """
    if receipt.succeeded:
        return True, ""
    return False, await _why_reverted(view, row, receipt, report_call(row))


async def _why_reverted(view: View, row: AnchorRow | AccessRow, receipt: TxReceipt, call: bytes) -> str:
    """Why a transaction reverted: what the contract says to the same call now."""
    if row.state == State.REVERTED and row.block_hash == receipt.block_hash:
        return row.detail
    try:
        await view.estimate_gas(row.account or b"", row.contract, call)
    except CallReverted as reverted:
        return explain(reverted.data).problem
    return f"it reverted with {receipt.gas_used} gas; it would not now"
