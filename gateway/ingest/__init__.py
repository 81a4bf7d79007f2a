"""The one loop that joins transport, envelope, checks, detection and journal.

    intake ──▶ admit ──▶ (signatures, replay states) ──▶ decide ──▶ (receipts) ──▶ commit ──▶ reply

``intake`` holds what the transports handed over. ``admission`` decodes and asks the cheap steps. ``ledger`` owns what
must happen in order: replay windows, log indexes, the Merkle tree. ``pipeline`` runs the stages, each batch in its
turn, several batches in flight; an answer leaves only after its group is on the disk.
"""
