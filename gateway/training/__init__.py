"""Training: from raw public files to a ``.tflite`` model, its ``ModelSpec`` and its card, reproducible by seed.

Needs the extra ``train`` (TensorFlow, scikit-learn); nothing that a gateway runs imports this room. Each data set is
a module; ``data``, ``metrics``, ``export``, ``card`` and ``plot`` serve them all.
"""
