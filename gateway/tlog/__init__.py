"""The log: an append-only list of entries that anybody can check and nobody, we included, can rewrite unseen.

Read the room in the order in which an entry walks through it:

1. ``entry``: what happened, as bytes. One entry for each accepted message, and some for what the gateway did itself.
2. ``merkle``: the arithmetic. An entry is hashed to a leaf, the leaves to one root of 32 bytes.
3. ``tiles``: where the hashes live, 256 to a tile, and how proofs are read from them; ``layout``: their paths.
4. ``checkpoint``: the signed note "my log has this size and this root"; two of them that do not agree convict us.
5. ``tlog_proof``: an inclusion proof and the checkpoint it leads to, as the text that c2sp.org defines.
6. ``proof``: the file handed to anyone who asks: the device's envelope, the entry, the proof, the hints to the keys.
7. ``verification``: what that anyone does with it, step by step, without us.

All of it is pure: bytes in, values out, no clock. Storing is the journal's work, signing the key's.
"""
