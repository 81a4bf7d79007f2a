"""The command line: ``securenet``. Every command answers to people, and with ``--json`` to programs."""
