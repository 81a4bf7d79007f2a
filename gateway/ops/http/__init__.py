"""Health, metrics and the status page over HTTP; nothing else in the gateway speaks it to an operator.

``server`` listens, ``guard`` decides who is answered, ``health`` has the answers for machines. Whoever serves more
mounts it: a function that gets the application, adds its routes, and finds the gateway under ``keys.VIEW``.
"""
