"""Fuzz every decoder for a bounded time: ``run.py --seconds 60 [--target NAME …]``.

Each target runs in a process of its own, guided by coverage (atheris), from the seeds in ``corpus/<target>/``. What
it finds on the way is thrown away; an input that crashes a target is kept in ``crashes/``; the exit status is then 1.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
MAX_LENGTH = 4096
SINGLE_INPUT_S = 10
GRACE_S = 60


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=60, help="time for each target")
    parser.add_argument("--target", action="append", help="only this one; may be given several times")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("libfuzzer", nargs="*", help=argparse.SUPPRESS)
    return parser.parse_args()


def run_child(target: str, libfuzzer: list[str]) -> None:
    """Be the process of one target; does not return."""
    import atheris  # noqa: PLC0415 -- there are no wheels for every platform, and only a child needs it

    with atheris.instrument_imports(include=["gateway"]):
        import fuzz_targets  # noqa: PLC0415 -- imported under instrumentation
    atheris.Setup([sys.argv[0], *libfuzzer], fuzz_targets.TARGETS[target])
    atheris.Fuzz()


def fuzz(target: str, seconds: int) -> tuple[int, bool]:
    """Run one target; how many inputs it was given, and whether all of them passed."""
    crashes = HERE / "crashes"
    crashes.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as found:
        options = [
            f"-max_total_time={seconds}",
            f"-max_len={MAX_LENGTH}",
            f"-timeout={SINGLE_INPUT_S}",
            f"-artifact_prefix={crashes}/{target}-",
            "-print_final_stats=1",
            "-use_value_profile=1",
        ]
        command = [sys.executable, __file__, "--child", target, "--", *options, found, str(HERE / "corpus" / target)]
        done = subprocess.run(command, capture_output=True, timeout=seconds + GRACE_S, check=False)
    report = done.stderr.decode(errors="replace")
    executed = re.search(r"stat::number_of_executed_units:\s*(\d+)", report)
    passed = done.returncode == 0 and executed is not None
    if not passed:
        print(done.stdout.decode(errors="replace") + report, file=sys.stderr)
    return int(executed[1]) if executed else 0, passed


def main() -> int:
    """Fuzz what was asked for."""
    arguments = parse_arguments()
    if arguments.child:
        run_child(arguments.child, arguments.libfuzzer)
    known = sorted(path.name for path in (HERE / "corpus").iterdir() if path.is_dir())
    targets = arguments.target or known
    if unknown := set(targets) - set(known):
        print(f"no such target: {', '.join(sorted(unknown))}; there are: {', '.join(known)}", file=sys.stderr)
        return 2
    failed = 0
    for target in targets:
        executions, passed = fuzz(target, arguments.seconds)
        failed += not passed
        print(f"{target:16} {executions:>12,} executions  {'ok' if passed else 'FAILED'}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
