"""`python -m txfiles` is the command `txfiles`."""

from txfiles.cli.main import entry

if __name__ == "__main__":
    entry()
