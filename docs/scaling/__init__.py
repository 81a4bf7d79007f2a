"""The arithmetic of docs/scaling.md: closed forms, a simulation that checks them, tables and plots.

From the folder docs: ``python -m scaling`` prints the tables, ``python -m scaling --help`` names what can be assumed
otherwise, ``python -m scaling --write`` brings the page and its plots up to date.
"""
