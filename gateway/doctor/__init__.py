"""What ails a gateway: questions to the machine and to what the gateway depends on, and a remedy for each fault.

A check asks (I/O, in ``*_ask.py``) and judges (pure: facts in, findings out). Nothing here changes what
it looks at, and everything works beside a running gateway and without one.
"""
