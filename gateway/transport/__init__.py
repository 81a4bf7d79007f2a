"""Transports: bytes in, acknowledgement out. ``port`` says what one is; ``mqtt`` and ``coap`` are the two."""
