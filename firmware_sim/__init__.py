"""Simulated devices: the device's half of the formats, a hostile crowd, and a conformance kit.

This package was written from the formats page alone and never imports the gateway. What the two agree on, they agree
on because the page says so.
"""
