"""The entry point of the `quickset` command."""

import os
import sys


def main() -> None:
    """Run the command line. `--version` imports no slow module."""
    _open_closed_streams()
    interrupts = 0

    def interrupt(*_: object) -> None:
        nonlocal interrupts
        interrupts += 1
        raise KeyboardInterrupt

    try:
        if sys.argv[1:] == ["--version"]:
            from importlib.metadata import version

            try:
                print(f"quickset {version('quickset')}", flush=True)
            except OSError as error:
                from quickset.cli.output import output_failed

                sys.exit(output_failed(error))
            return
        import signal

        # Every signal that ends the process removes temporary files, as Ctrl-C does.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                signal.signal(number, interrupt)

        from quickset.cli.app import run

        run()
    except (KeyboardInterrupt, Exception) as error:
        # A library may convert the interrupt to another error, as Pydantic does during the import of Copier.
        if not (interrupts or isinstance(error, KeyboardInterrupt)):
            raise
        print("quickset: interrupted.", file=sys.stderr)
        sys.exit(5)


def _open_closed_streams() -> None:
    """Open the null device for each standard stream that is closed.

    Otherwise the next opened file gets the descriptor, and a started program writes to that file.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            stream = open(os.devnull, mode, encoding="utf-8")  # noqa: PTH123, SIM115 -- it stays open until the process ends
            os.set_inheritable(stream.fileno(), stream.fileno() == number)
            setattr(sys, name, stream)


if __name__ == "__main__":
    main()
