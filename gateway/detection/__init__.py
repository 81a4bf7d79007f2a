"""Detection: a verdict for every verified message, in batches, off the event loop. No model yet: ``unscored``."""
