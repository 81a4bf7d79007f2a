"""The command lines of a page of the documentation, and whether there are such commands and options."""

import re
import shlex
from itertools import pairwise

import click
from docs_page import OPERATIONS

from gateway.cli.main import cli

CHECKS = set(re.findall(r"^### ([a-z]+)$", (OPERATIONS / "doctor.md").read_text(), re.MULTILINE))


def commands(page):
    """Every command line of ours on a page: in blocks, in indented lines, between backticks."""
    joined = page.replace("\\\n", " ")
    inline = re.findall(r"`(securenet [^`\n]+)`", joined)
    lines = [line.strip() for line in joined.splitlines()]
    found = [line for line in lines if line.startswith("securenet ")]
    nested = re.findall(r"^(?:until|\d+ .*?root|/opt/securenet/bin/)\s*(securenet [^;|>\n]+)", joined, re.MULTILINE)
    return [*inline, *found, *nested]


def checked(line):
    """Find the command and look each of its options up; the words of a missing one."""
    plain = re.split(r"\s(?:\||\|\||&&|>|2>|>>|#|&)(?:\s|$)", line)[0]
    words = shlex.split(plain)[1:]
    command: click.Command = cli
    context = click.Context(cli)
    while words and isinstance(command, click.Group) and not words[0].startswith("-"):
        found = command.get_command(context, words[0])
        assert found is not None, f"{line}: there is no {words[0]}"
        command, words = found, words[1:]
    if {"--version", "--help"} & set(words) or (
        isinstance(command, click.Group) and not words and command is not cli
    ):
        return  # a group alone is spoken of, not typed
    assert not isinstance(command, click.Group), f"{line}: it needs a subcommand"
    known = {name: parameter for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    for word, value in pairwise([*words, ""]):
        if word.startswith("-"):
            assert word in known, f"{line}: {word}"
            kind = known[word].type
            assert word != "--only" or value in CHECKS, f"{line}: the doctor has no check {value}"
            assert not isinstance(kind, click.Choice) or value in kind.choices or value.isupper(), f"{line}: {value}"
    arguments = [parameter for parameter in command.params if isinstance(parameter, click.Argument)]
    flags = {name for p in command.params if isinstance(p, click.Option) and p.is_flag for name in p.opts}
    values = 0
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word.startswith("-"):
            skip = word not in flags
        else:
            values += 1
    most = sum(parameter.nargs if parameter.nargs > 0 else 1000 for parameter in arguments)
    assert values <= most, f"{line}: {values} arguments, {most} are taken"
