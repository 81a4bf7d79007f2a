"""Signatures: keys and their arithmetic (``keys``, pure), and the process that does it in batches.

Python threads cannot carry this: a thread that comes back from libsodium waits for the interpreter lock once a
signature, up to the switch interval each time, beside an event loop that is busy (docs/adr/0001). So one small child
process verifies and signs, and the parent talks to it in frames of many signatures.
"""
