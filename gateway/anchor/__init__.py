"""How the log's checkpoints come to the chain (docs/spec/anchoring.md).

``batch`` says when one is sealed, ``past`` whether it may be, ``fees`` what is bid, ``lifecycle`` which states a
transaction passes, ``nonces`` which of them the chain's answers lead to, ``holds`` why nothing goes on, ``report``
all of it in words; these are pure. ``sender`` goes through a look; ``precheck``, ``sighting`` and ``adoption``
ask the chain for it, ``transaction`` signs, and ``book`` writes the outbox.
"""
