"""`clew` and `python -m clew`.

Until a command begins its work, and once it is done, Ctrl-C ends the process at once, as it ends programs that do not
handle it: the imports take seconds, and a KeyboardInterrupt inside them would leave a traceback.
"""

import signal


def main() -> None:
    """Run the command line; leaves with the exit codes of `clew.cli.leaving`."""
    ends_at_once = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # not where it is ignored (nohup)
    if ends_at_once:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from clew import cli

    try:
        cli.main()
    finally:
        if ends_at_once:
            signal.signal(signal.SIGINT, signal.SIG_DFL)


if __name__ == "__main__":
    main()
