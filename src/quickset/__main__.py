"""The entry point of the `quickset` command."""

import sys


def main() -> None:
    """Run the command line; `--version` alone is answered before anything slow is imported."""
    try:
        if sys.argv[1:] == ["--version"]:
            from importlib.metadata import version

            try:
                print(f"quickset {version('quickset')}", flush=True)
            except OSError as error:
                from quickset.cli import unwritten

                sys.exit(unwritten(error))
            return
        import signal

        # Asked to end in another way than by Ctrl-C, it tidies up just the same.
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) == signal.SIG_DFL:
                signal.signal(number, signal.default_int_handler)

        from quickset.cli import run

        run()
    except KeyboardInterrupt:
        print("quickset: interrupted.", file=sys.stderr)
        sys.exit(5)


if __name__ == "__main__":
    main()
