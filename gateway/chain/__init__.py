"""What an EVM chain is to the gateway: who is registered, and what was anchored.

``artifacts/`` holds the ABI and the bytecode of the two contracts, built from ``contracts/``. ``make contracts``
compares them with the sources byte for byte; running the gateway needs no compiler.
"""
