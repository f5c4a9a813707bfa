"""`python -m unfeature`."""

from unfeature.cli import main

if __name__ == "__main__":
    main()
