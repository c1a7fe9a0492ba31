"""The entry point of the `quickset` command."""

import os
import sys


def main() -> None:
    """Run the command line; a lone `--version` imports nothing slow."""
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

        # Asked to end in another way than by Ctrl-C, it tidies up just the same.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                signal.signal(number, interrupt)

        from quickset.cli.app import run

        run()
    except (KeyboardInterrupt, Exception) as error:
        # A library may turn the interrupt into an error of its own, as Pydantic does while Copier is imported.
        if not (interrupts or isinstance(error, KeyboardInterrupt)):
            raise
        print("quickset: interrupted.", file=sys.stderr)
        sys.exit(5)


def _open_closed_streams() -> None:
    """Open the null device in place of each standard stream that is closed.

    Otherwise the next file that is opened takes the descriptor, and a program that is started writes into that file.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            stream = open(os.devnull, mode, encoding="utf-8")  # noqa: PTH123, SIM115 -- it lasts as long as the process
            os.set_inheritable(stream.fileno(), stream.fileno() == number)
            setattr(sys, name, stream)


if __name__ == "__main__":
    main()
