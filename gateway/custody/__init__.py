"""Who may speak, and who holds the gateway to what it wrote down: by a file, or by a chain.

``port`` is what the gateway sees of it. ``file`` is the registry as a file, with nobody to anchor to; ``chain`` is
the chain of custody, imported only where ``chain.rpc`` names an endpoint.
"""
