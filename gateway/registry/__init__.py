"""Who may speak here: the devices and miners that exist, as one immutable snapshot at a time."""
