"""``python -m gateway`` is the ``slipway`` command."""

from gateway.cli import main

if __name__ == "__main__":
    main()
