"""The entry point of the `quickset` command."""

import sys


def main() -> None:
    """Run the command line; `--version` alone is answered before anything slow is imported."""
    try:
        if sys.argv[1:] == ["--version"]:
            from importlib.metadata import version

            print(f"quickset {version('quickset')}")
            return
        from quickset.cli import run

        run()
    except KeyboardInterrupt:
        print("quickset: interrupted.", file=sys.stderr)
        sys.exit(5)


if __name__ == "__main__":
    main()
