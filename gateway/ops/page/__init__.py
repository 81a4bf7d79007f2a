"""The status page: what an operator looks at, as plain files and a JSON API beneath ``/api/``.

``mount`` adds it to the HTTP server. Everything is read when somebody asks: the status from the running gateway, the
rest from the journal through read-only connections that end after a few seconds, at most two at a time.
"""

from gateway.ops.page.routes import mount

__all__ = ["mount"]
