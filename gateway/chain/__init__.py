"""What an EVM chain is to the gateway: who is registered, what was anchored, which models may run.

``artifacts/`` holds the ABI and the bytecode of the contracts, built from ``contracts/``. ``make contracts``
compares them with the sources byte for byte; running the gateway needs no compiler.
"""
