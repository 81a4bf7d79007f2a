"""What an EVM chain is to the gateway: who is registered, and what was anchored.

``artifacts/`` holds the ABI and the bytecode of the two contracts, built from ``contracts/`` by ``make contracts`` and
compared byte for byte in CI, so that running the gateway needs no compiler.
"""
