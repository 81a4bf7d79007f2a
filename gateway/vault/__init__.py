"""Models: how they are made secret, named, found and opened (docs/spec/model-bundle.md).

A bundle is two things: the ciphertext of a model, and a manifest that says what it is, for whom, and is signed by its
publisher. ``cipher`` makes one into the other, ``wrap`` carries the data key to a gateway, ``manifest`` (with
``manifest_spec`` and ``fields``) is the envelope, ``bundle`` opens all of it, ``refusal`` names what can be wrong.
``cid``, ``unixfs``, ``dagpb``, ``varint`` and ``car`` are the blocks that a ciphertext is stored in. All these are
pure: bytes in, values out, no clock, no file. The rest asks the world: for blocks, and for keys.
"""
