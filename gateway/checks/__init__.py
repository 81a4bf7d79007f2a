"""Algorithm 1 (FORMATS.md §3): the verification of a message, as small pure checks.

Every check is a function of values and of ``now``; it returns None when it holds and a ``Rejected`` (or, for the
step that is about the gateway itself, a ``PushbackReason``) when it does not. ``chain`` puts them in order.
"""
