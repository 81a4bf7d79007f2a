"""The envelope: what a device signed, taken out of the bytes that came (FORMATS.md §2, docs/spec/envelope.md).

``gateway.envelope.decoding.decode`` is the only way in. It never raises for what a peer sent, recurses into nothing,
and spends nothing on a message that is too large.

Not handled here: whether the signature holds, its length included; whether the device exists; whether the algorithm
fits its key; whether the payload can be scored (``gateway.envelope.readings``, all that scoring imports).
"""
